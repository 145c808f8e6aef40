//! The operator's command: [`grasp::tools`] as a program.

fn main() -> std::process::ExitCode {
    grasp::tools::main()
}
