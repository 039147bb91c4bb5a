//! The binary: hands over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "__worker") {
        return pop_deploy::plugins::serve();
    }
    ExitCode::SUCCESS
}
