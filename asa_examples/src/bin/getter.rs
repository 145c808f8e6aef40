//! The example is [`asa_examples::getter`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::getter::Getter>()
}
