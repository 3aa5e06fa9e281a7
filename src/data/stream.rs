//! Reads exactly as many bytes as a header promised; a promise that is not kept costs little memory.

use std::io::{BufRead, ErrorKind, Read};

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;

use super::images::MAX_BYTES;

/// Bytes read between two looks at the progress callback.
const CHUNK: usize = 1 << 20;

/// Deflate cannot expand data more than this (zlib's documentation, "Maximum Compression Factor").
const MAX_DEFLATE_RATIO: u64 = 1032;

/// Is told the fraction of one file that has been read; an error stops the reading.
pub(crate) type Tick<'a> = dyn FnMut(f32) -> Result<()> + 'a;

/// A file's content, unpacked if it is packed with gzip (told by its first bytes, not by its name).
pub(crate) struct Unpacked<'a> {
    /// The file, as errors call it.
    pub name: &'a str,
    reader: Box<dyn Read + 'a>,
    length: Length,
    taken: u64,
}

/// What is known of a content's length before it is read.
enum Length {
    Exactly(u64),
    AtMost(u64),
}

impl<'a> Unpacked<'a> {
    /// `stored_bytes` is the length of `input` as it lies on disk.
    ///
    /// # Errors
    /// When the first bytes cannot be read.
    pub(crate) fn new(name: &'a str, mut input: impl BufRead + 'a, stored_bytes: u64) -> Result<Self> {
        let start = input.fill_buf().with_context(|| format!("{name}: cannot be read"))?;
        let packed = start.starts_with(&[0x1f, 0x8b]);
        let (reader, length): (Box<dyn Read>, _) = if packed {
            let most = stored_bytes.saturating_mul(MAX_DEFLATE_RATIO);
            (Box::new(MultiGzDecoder::new(input)), Length::AtMost(most))
        } else {
            (Box::new(input), Length::Exactly(stored_bytes))
        };
        Ok(Self {
            name,
            reader,
            length,
            taken: 0,
        })
    }

    /// The next `N` bytes, part of a header.
    ///
    /// # Errors
    /// When the content ends before.
    pub(crate) fn header<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let got = fill(&mut self.reader, &mut bytes, self.name)?;
        ensure!(
            got == N,
            "{}: ends within its header after {} bytes, expected {} or more",
            self.name,
            self.taken + got as u64,
            self.taken + N as u64
        );
        self.taken += N as u64;
        Ok(bytes)
    }

    /// The rest, which must be exactly `promised` bytes. Whatever can be known from the length on disk is checked before
    /// anything is allocated.
    ///
    /// # Errors
    /// When the content has fewer or more bytes, is damaged, or would not fit into memory; and those of `tick`.
    pub(crate) fn rest(mut self, promised: u64, tick: &mut Tick) -> Result<Vec<u8>> {
        let name = self.name;
        ensure!(
            promised <= MAX_BYTES,
            "{name}: its header promises {promised} bytes, expected at most {MAX_BYTES}"
        );
        match self.length {
            Length::Exactly(all) => ensure!(
                all == self.taken + promised,
                "{name}: its header promises {promised} bytes, found {}",
                all.saturating_sub(self.taken)
            ),
            Length::AtMost(most) => ensure!(
                self.taken + promised <= most,
                "{name}: its header promises {promised} bytes, more than the packed file can hold (found at most {most})"
            ),
        }
        let bytes = exactly(&mut self.reader, promised, name, tick)?;
        // This read also makes gzip compare its own checksum.
        let more = self.reader.read(&mut [0]);
        let more = more.with_context(|| format!("{name}: damaged after its {promised} bytes of data"))?;
        ensure!(
            more == 0,
            "{name}: its header promises {promised} bytes, found more after them"
        );
        Ok(bytes)
    }
}

/// Reads `promised` bytes, growing with what arrives.
///
/// # Errors
/// When `reader` ends before or fails; and those of `tick`.
pub(crate) fn exactly(reader: &mut dyn Read, promised: u64, name: &str, tick: &mut Tick) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(first_capacity(promised));
    while (bytes.len() as u64) < promised {
        let start = bytes.len();
        let wanted = CHUNK.min((promised - start as u64) as usize);
        bytes.resize(start + wanted, 0);
        let got = fill(reader, &mut bytes[start..], name)?;
        if got < wanted {
            bail!(
                "{name}: its header promises {promised} bytes, found {}: the file is cut short",
                start + got
            );
        }
        tick(bytes.len() as f32 / promised as f32)?;
    }
    Ok(bytes)
}

/// A promise is believed for 64 chunks at most, so that a lie costs little; beyond, the vector doubles as bytes arrive.
fn first_capacity(promised: u64) -> usize {
    promised.min(64 * CHUNK as u64) as usize
}

/// Fills `bytes` as far as the reader has some; returns how many. A packed stream that breaks off counts as its end.
pub(crate) fn fill(reader: &mut dyn Read, bytes: &mut [u8], name: &str) -> Result<usize> {
    let mut got = 0;
    while got < bytes.len() {
        match reader.read(&mut bytes[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error).with_context(|| format!("{name}: cannot be read")),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_promise_alone_allocates_little(promised: u64) {
            prop_assert!(first_capacity(promised) as u64 <= promised.min(64 << 20));
        }

        #[test]
        fn what_is_read_is_what_was_written(bytes: Vec<u8>) {
            let content = Unpacked::new("x", &bytes[..], bytes.len() as u64);
            let packed = bytes.starts_with(&[0x1f, 0x8b]);
            prop_assume!(!packed);
            prop_assert_eq!(content.unwrap().rest(bytes.len() as u64, &mut |_| Ok(())).unwrap(), bytes);
        }
    }

    #[test]
    fn the_callback_stops_the_reading() {
        let bytes = vec![1; 3 * CHUNK];
        let mut calls = 0;
        let error = exactly(&mut &bytes[..], bytes.len() as u64, "x", &mut |_| {
            calls += 1;
            bail!("enough")
        });
        assert_eq!((error.unwrap_err().to_string().as_str(), calls), ("enough", 1));
    }
}
