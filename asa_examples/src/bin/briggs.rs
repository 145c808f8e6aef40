//! The example is [`asa_examples::briggs`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::briggs::Briggs>()
}
