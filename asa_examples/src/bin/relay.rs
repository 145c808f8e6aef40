//! The example is [`asa_examples::relay`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::relay::Relay>()
}
