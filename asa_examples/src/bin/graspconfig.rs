//! The example is [`asa_examples::graspconfig`].

fn main() -> std::process::ExitCode {
    asa_examples::main::<asa_examples::graspconfig::GraspConfig>()
}
