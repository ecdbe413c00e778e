//! The program `dynamend-lambda`; see [`worker::lambda`].

fn main() -> std::process::ExitCode {
    worker::lambda::main()
}
