//! How a command fails: an error, and the exit code that scripts see.

use super::output::remark;
use std::process::ExitCode;

/// An error with the code that the program ends with.
pub(crate) struct Failure {
    pub code: u8,
    pub error: anyhow::Error,
}

/// The result of a command, the exit code, or of a part of one.
pub(crate) type Done<T = u8> = Result<T, Failure>;

/// Marks errors as bad input (exit code 2) or failed work (1).
pub(crate) trait OrFail<T> {
    fn or_bad_input(self) -> Result<T, Failure>;
    fn or_failed(self) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_bad_input(self) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            code: 2,
            error: error.into(),
        })
    }
    fn or_failed(self) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            code: 1,
            error: error.into(),
        })
    }
}

/// Writes one line to stderr; gives the exit code.
pub fn complain(code: u8, text: &str) -> ExitCode {
    let text = text.strip_prefix("error: ").unwrap_or(text).replace('\n', " ");
    remark(&format!("secateur: {text}"));
    ExitCode::from(code)
}
