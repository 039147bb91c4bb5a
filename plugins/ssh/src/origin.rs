//! Where a release or a lock comes from.

use pop_deploy_plugin_api::protocol::TargetContext;
use serde::{Deserialize, Serialize};

/// How much of a hash tells a maker from all others that one will ever meet.
const LENGTH: usize = 16;

/// The run that something comes from. Runs are named by the second in which they begin, so the name alone doesn't tell those
/// of two folders, or of two machines, apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) run: String,
    /// A hash of the machine and the folder that it was run in.
    #[serde(default)]
    pub(crate) maker: String,
}

impl Origin {
    /// The run of a session, whichever of its processes this is.
    pub(crate) fn of(context: &TargetContext) -> Self {
        let machine = rustix::system::uname();
        let maker = format!("{}\0{}", machine.nodename().to_string_lossy(), context.project.display());
        let maker = blake3::hash(maker.as_bytes()).to_hex()[..LENGTH].to_owned();
        Self { run: context.run_id.clone(), maker }
    }
}
