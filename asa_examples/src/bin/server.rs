//! The example is [`asa_examples::server`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::server::Server>()
}
