//! Where a release or a lock comes from.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::UNIX_EPOCH};

use pop_deploy_plugin_api::protocol::TargetContext;
use serde::{Deserialize, Serialize};

/// How much of a hash tells a maker from all others that one will ever meet.
const LENGTH: usize = 16;

/// The run that something comes from. Runs are named by the second in which they begin, so the name alone doesn't tell those
/// of two folders, or of two machines, apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) run: String,
    /// A hash of what tells the folder with the run's journal from all others.
    #[serde(default)]
    pub(crate) maker: String,
}

impl Origin {
    /// The run of a session, whichever of its processes this is.
    pub(crate) fn of(context: &TargetContext) -> Self {
        let folder = birth(&context.data).unwrap_or_else(|_| context.data.display().to_string());
        let maker = blake3::hash(folder.as_bytes()).to_hex()[..LENGTH].to_owned();
        Self { run: context.run_id.clone(), maker }
    }
}

/// When a folder was made, where that was written down, and its number: neither a move of it nor another name of the machine
/// changes these.
fn birth(folder: &Path) -> io::Result<String> {
    let metadata = fs::metadata(folder)?;
    let made = metadata.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    Ok(format!("{} {}", metadata.ino(), made.unwrap_or_default().as_nanos()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_moved_is_the_same_and_another_one_is_not() {
        let place = tempfile::tempdir().unwrap();
        let [one, two, moved] = ["one", "two", "moved"].map(|name| place.path().join(name));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        let born = birth(&one).unwrap();
        assert_ne!(born, birth(&two).unwrap());
        fs::rename(&one, &moved).unwrap();
        assert_eq!(born, birth(&moved).unwrap());
    }
}
