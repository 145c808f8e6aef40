//! The tool is [`asa_examples::quadsmaker`].

fn main() -> std::process::ExitCode {
    asa_examples::quadsmaker::main()
}
