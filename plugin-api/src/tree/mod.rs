//! A folder of the project that is to be shipped: walked, judged, compared by content. Behind the cargo feature `tree`.

mod content;
mod place;
mod problem;
mod root;
mod skip;
mod stamp;
mod walk;

pub use content::{Blake3, ContentHash, Sha256};
pub use place::{folder, resolve};
pub use problem::Problem;
pub use root::{Root, buffer};
pub use skip::Skip;
pub use stamp::{Stamp, now};
pub use walk::{File, Folder, Link, MODE, Tree};
