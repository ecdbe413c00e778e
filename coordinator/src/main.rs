//! The program `dynamend`; see [`coordinator`].

fn main() -> std::process::ExitCode {
    coordinator::main()
}
