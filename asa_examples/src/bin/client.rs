//! The example is [`asa_examples::client`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::client::Client>()
}
