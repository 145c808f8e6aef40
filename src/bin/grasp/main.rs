//! The operator's command. What it does is [`grasp::tools`].

fn main() -> std::process::ExitCode {
    grasp::tools::main()
}
