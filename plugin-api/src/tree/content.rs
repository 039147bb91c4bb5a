//! Hashes of contents: BLAKE3 where we compare with ourselves, SHA-256 where the other side has `sha256sum`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

/// A hash of a file's content.
pub trait ContentHash: Copy + Eq + Send {
    /// What computes it.
    type Hasher: Default;

    /// Takes in more of the content.
    fn update(hasher: &mut Self::Hasher, bytes: &[u8]);

    /// The hash of what was taken in.
    fn finish(hasher: Self::Hasher) -> Self;
}

/// A BLAKE3 hash; in JSON and for people in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Blake3(pub blake3::Hash);

impl ContentHash for Blake3 {
    type Hasher = blake3::Hasher;

    fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) {
        hasher.update(bytes);
    }

    fn finish(hasher: blake3::Hasher) -> Self {
        Self(hasher.finalize())
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl Serialize for Blake3 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_hex())
    }
}

impl<'de> Deserialize<'de> for Blake3 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed: hexadecimal needs no escapes.
        let hex = <&str>::deserialize(deserializer)?;
        blake3::Hash::from_hex(hex).map(Self).map_err(de::Error::custom)
    }
}

/// A SHA-256 hash; in JSON and for people in hexadecimal, as `sha256sum` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Reads 64 hexadecimal digits; none where they aren't that.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes().as_chunks::<2>().0;
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        let bytes = digits.iter().map(byte).collect::<Option<Vec<_>>>()?;
        bytes.try_into().ok().filter(|_| hex.len() == 64).map(Self)
    }
}

impl ContentHash for Sha256 {
    type Hasher = sha2::Sha256;

    fn update(hasher: &mut sha2::Sha256, bytes: &[u8]) {
        hasher.update(bytes);
    }

    fn finish(hasher: sha2::Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        Self::from_hex(&hex).ok_or_else(|| de::Error::custom(format!("`{hex}` is no SHA-256 hash")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_sha256_reads_and_writes_as_sha256sum_does() {
        let mut hasher = <Sha256 as ContentHash>::Hasher::default();
        Sha256::update(&mut hasher, b"a");
        Sha256::update(&mut hasher, b"bc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hash = Sha256::finish(hasher);
        assert_eq!(hash.to_string(), hex);
        assert_eq!(Sha256::from_hex(hex), Some(hash));
        assert_eq!(serde_json::from_str::<Sha256>(&serde_json::to_string(&hash).unwrap()).unwrap(), hash);
        for wrong in ["", &hex[2..], &hex[1..], &format!("{hex}00"), &hex.replace('b', "g"), &"é".repeat(32)]
        {
            assert_eq!(Sha256::from_hex(wrong), None, "{wrong}");
        }
    }
}
