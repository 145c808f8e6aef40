//! The operator's command, `grasp`, for the tests of this package: cargo gives a test only the programs of its own package.

fn main() -> std::process::ExitCode {
    grasp::tools::main()
}
