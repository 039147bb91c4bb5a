use super::args;
use crate::plugins::SearchPath;
use std::process::ExitCode;
pub(super) fn execute(_: &args::Execute, _: &SearchPath) -> ExitCode { ExitCode::FAILURE }
pub(super) fn rollback(_: &args::Rollback, _: &SearchPath) -> ExitCode { ExitCode::FAILURE }
