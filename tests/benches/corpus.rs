//! What is deployed: the same files on every machine, sized like a real site's.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Xorshift: fast, the same everywhere, and nothing that compresses.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}

/// A folder `public` of pages, styles and pictures.
pub(crate) struct Corpus {
    root: PathBuf,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Corpus {
    pub(crate) fn create(root: PathBuf, files: u64) -> Self {
        let mut corpus = Self { root, files, bytes: 0 };
        for number in 0..files {
            corpus.bytes += write(&corpus.file(number), number, 0);
        }
        fs::write(corpus.root.join("index.html"), "<h1>Start</h1>\n").expect("the index is written");
        corpus
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn file(&self, number: u64) -> PathBuf {
        let extension =
            ["html", "html", "html", "css", "js", "webp"][usize::try_from(number % 6).unwrap_or(0)];
        self.root.join(format!("part-{:02}/page-{number}.{extension}", number / 100))
    }

    /// Gives every hundredth file other content of the same size.
    pub(crate) fn change_one_percent(&self, round: u64) {
        for number in (round % 100..self.files).step_by(100) {
            write(&self.file(number), number, round + 1);
        }
    }

    /// What a fresh checkout does: the same content, every time of change new.
    pub(crate) fn renew_every_mtime(&self, round: u64) {
        let time = SystemTime::now() + Duration::from_secs(round + 1);
        for number in 0..self.files {
            let file = File::options().write(true).open(self.file(number)).expect("the file opens");
            file.set_modified(time).expect("the time is set");
        }
    }
}

/// 60 % small pages, 25 % middling, 12 % pictures, 3 % large: about 50 kB in the mean.
fn size(number: u64) -> u64 {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.next();
    match number % 100 {
        0..60 => random.between(1_000, 8_000),
        60..85 => random.between(8_000, 40_000),
        85..97 => random.between(40_000, 200_000),
        _ => random.between(200_000, 1_800_000),
    }
}

fn write(path: &Path, number: u64, edition: u64) -> u64 {
    let size = size(number);
    let mut random = Random((number << 20 | edition << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 8);
    while (content.len() as u64) < size {
        content.extend_from_slice(&random.next().to_le_bytes());
    }
    content.truncate(usize::try_from(size).unwrap_or(0));
    fs::create_dir_all(path.parent().unwrap_or(path)).expect("the folder is made");
    File::create(path).and_then(|mut file| file.write_all(&content)).expect("the file is written");
    size
}
