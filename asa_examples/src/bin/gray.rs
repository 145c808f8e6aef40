//! The example is [`asa_examples::gray`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::gray::Gray>()
}
