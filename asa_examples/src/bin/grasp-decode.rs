//! The tool is [`asa_examples::decode`].

fn main() -> std::process::ExitCode {
    asa_examples::decode::main()
}
