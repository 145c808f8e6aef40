//! The example is [`asa_examples::pfxm`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::pfxm::Pfxm3>()
}
