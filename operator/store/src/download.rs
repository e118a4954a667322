//! Reads an object in order, by ranges that are fetched ahead, and goes on in mid-range when a connection ends. Network.
//!
//! Memory of one download, whatever the length of the object: `range_bytes × buffers`, by permits that a range needs before
//! it is asked for and gives back when it was read; 32 MiB with the default settings.

mod range;

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::ReadError;
use crate::s3::Store;

pub(crate) use range::RangeSource;

/// How an object is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadSettings {
    /// Bytes asked for at once.
    pub range_bytes: usize,
    /// Ranges in memory at once, 2 at least: one being read, the others waiting or on their way.
    pub buffers: usize,
    /// Longest time without a byte before a request is given up. A request as a whole has this and the time that its bytes
    /// take at 256 KiB a second.
    pub stall: Duration,
    /// Tries of a request that brings nothing, the first not counted. One that brings [`ReadSettings::PROGRESS`] bytes makes
    /// the next ones count from 0.
    pub retries: usize,
    /// Longest pause between two tries; the first is a quarter of a second, each one about twice as long as the one before.
    pub max_pause: Duration,
}

impl ReadSettings {
    /// Fewest bytes by which a try counts as progress, so that an object whose connection is cut all the time is still read
    /// to its end, and one that trickles is not waited for without end.
    pub const PROGRESS: usize = 64 << 10;
}

impl Default for ReadSettings {
    /// A server that answers nothing is waited for some two minutes.
    fn default() -> Self {
        Self {
            range_bytes: 8 << 20,
            buffers: 4,
            stall: Duration::from_secs(20),
            retries: 12,
            max_pause: Duration::from_secs(15),
        }
    }
}

/// The bytes of an object, read by a thread that may block: never by one of the async runtime. All of one version of the
/// object, and as many as its manifest says. Errors wrap a [`ReadError`]; after one there are errors only. Fetching stops
/// when it is dropped.
pub struct Download {
    pieces: Pieces,
    current: Option<Piece>,
    position: usize,
    _fetching: AbortOnDropHandle<()>,
}

/// The ranges of an object in order.
pub(crate) struct Pieces {
    first: Option<Piece>,
    /// None after an error: what follows it must never be taken for what belongs there.
    rest: Option<mpsc::Receiver<oneshot::Receiver<Result<Piece, ReadError>>>>,
    left: u64,
    key: String,
}

/// One range of an object, and its permit to be in memory.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Store {
    /// Begins to read an object of so many bytes. Its first range is there when this returns, so an object that is missing
    /// or has another size is refused here.
    pub async fn download(
        &self,
        key: &str,
        bytes: u64,
        settings: ReadSettings,
    ) -> Result<Download, ReadError> {
        let (pieces, fetching) = self.pieces(key, bytes, settings).await?;
        Ok(Download { pieces, current: None, position: 0, _fetching: fetching })
    }

    /// The ranges, and the task that fetches them; it ends when its handle is dropped.
    pub(crate) async fn pieces(
        &self,
        key: &str,
        bytes: u64,
        settings: ReadSettings,
    ) -> Result<(Pieces, AbortOnDropHandle<()>), ReadError> {
        let buffers = settings.buffers.max(2);
        let permits = Arc::new(Semaphore::new(buffers));
        let source = Arc::new(RangeSource::new(self, key, bytes, settings));
        let mut ranges = ranges(bytes, settings.range_bytes.max(1) as u64);
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        let first = source.fetch(ranges.next().unwrap_or(0..0)).await?;
        let (order, rest) = mpsc::channel(buffers);
        let fetching = AbortOnDropHandle::new(tokio::spawn(fetch_all(source, ranges, permits, order)));
        let first = Some(Piece { bytes: first, _permit: permit });
        Ok((Pieces { first, rest: Some(rest), left: bytes, key: key.to_owned() }, fetching))
    }
}

fn ranges(bytes: u64, size: u64) -> impl Iterator<Item = Range<u64>> + Send + 'static {
    (0..bytes.div_ceil(size)).map(move |index| index * size..bytes.min((index + 1) * size))
}

/// Ranges get their permits in order, so the next one to be read always has one.
async fn fetch_all(
    source: Arc<RangeSource>,
    ranges: impl Iterator<Item = Range<u64>>,
    permits: Arc<Semaphore>,
    order: mpsc::Sender<oneshot::Receiver<Result<Piece, ReadError>>>,
) {
    let mut fetches = JoinSet::new();
    for range in ranges {
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        let (sender, receiver) = oneshot::channel();
        if order.send(receiver).await.is_err() {
            return;
        }
        let source = Arc::clone(&source);
        fetches.spawn(async move {
            let piece = source.fetch(range).await.map(|bytes| Piece { bytes, _permit: permit });
            // Nobody reads any more.
            drop(sender.send(piece));
        });
        while fetches.try_join_next().is_some() {}
    }
    while fetches.join_next().await.is_some() {}
}

impl Pieces {
    /// Waits for the next range; none at the end of the object.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = match self.first.take() {
            Some(piece) => piece,
            None => self.wait().inspect_err(|_| self.rest = None)?,
        };
        self.left -= piece.bytes.len() as u64;
        Ok(Some(piece))
    }

    fn wait(&mut self) -> Result<Piece, ReadError> {
        let receiver = self.rest.as_mut().and_then(mpsc::Receiver::blocking_recv);
        receiver.and_then(|piece| piece.blocking_recv().ok()).unwrap_or_else(|| {
            Err(ReadError::ReadFailed { key: self.key.clone(), cause: "it was stopped".to_owned() })
        })
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.current.is_none() {
            self.current = self.pieces.next().map_err(io::Error::other)?;
            self.position = 0;
        }
        let Some(piece) = &self.current else { return Ok(0) };
        let rest = &piece.bytes[self.position..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.position += taken;
        if self.position == piece.bytes.len() {
            // Gives its permit back, so that another range may come.
            self.current = None;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_cover_the_object_once(bytes in 0u64..10_000, size in 1u64..3_000) {
            let mut next = 0;
            for range in ranges(bytes, size) {
                prop_assert_eq!(range.start, next);
                prop_assert!(range.start < range.end && range.end - range.start <= size);
                next = range.end;
            }
            prop_assert_eq!(next, bytes);
        }
    }

    #[test]
    fn nothing_is_read_behind_a_gap() {
        let failed = || ReadError::ReadFailed { key: "key".into(), cause: "cut".into() };
        let piece = |byte| Piece { bytes: vec![byte; 3], _permit: None };
        let (order, rest) = mpsc::channel(2);
        for answer in [Err(failed()), Ok(piece(2))] {
            let (sender, receiver) = oneshot::channel();
            assert!(sender.send(answer).is_ok() && order.try_send(receiver).is_ok());
        }
        let mut pieces = Pieces { first: Some(piece(0)), rest: Some(rest), left: 9, key: "key".into() };
        assert_eq!(pieces.next().unwrap().unwrap().bytes, [0; 3]);
        for _ in 0..2 {
            assert!(pieces.next().is_err());
        }
    }
}
