//! The example is [`asa_examples::pusher`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::pusher::Pusher>()
}
