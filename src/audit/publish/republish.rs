//! Brings the published files up to the log, from the segments.

use crate::audit::error::{LogError, OpenError};
use crate::audit::read::reader::{Found, ReadError, Reader};
use crate::audit::read::recovery::{ReadErrorIn, Recovered};
use crate::audit::settings::LogSettings;
use crate::audit::tiles::{TileError, TileWriter};
use crate::audit::tree::Edge;
use std::path::PathBuf;

/// Records between two writes while much is made again: they lie in memory until then.
const STRIDE: u64 = 4096;

/// Continues the tiles at the published checkpoint, or begins anew where that cannot be used; publishes the last
/// recorded checkpoint if another one, or none, is published. The segments have been checked.
pub(in crate::audit) fn republish(
    settings: &LogSettings,
    recovered: &Recovered,
) -> Result<TileWriter, OpenError> {
    let from = recovered.published.as_ref().map_or(0, Edge::size);
    let mut work = Work {
        directory: settings.published(),
        edge: recovered.published.clone().unwrap_or_default(),
        tiles: None,
        partial: Vec::new(),
        // What is published already need not be published again.
        note: recovered.checkpoint.as_ref().filter(|c| c.size > from).map(|c| (c.size, c.note.as_bytes())),
    };
    for path in &recovered.segments {
        let inside = |e| OpenError::from(ReadErrorIn(path.clone(), e));
        let mut reader = Reader::open(path).map_err(inside)?;
        loop {
            let mut each =
                |frame: crate::audit::disk::frame::Frame<'_>, _| work.record(frame.seq, frame.record);
            match reader.next::<Stopped>(&mut each) {
                Ok(Found::Batch) => {}
                Ok(_) => break,
                Err(Stopped::Read(e)) => return Err(inside(e)),
                Err(Stopped::Tiles(e)) => return Err(LogError::from(e).into()),
            }
        }
    }
    let mut tiles = work.take_tiles().map_err(LogError::from)?;
    if tiles.size() != recovered.place.edge.size() || tiles.root() != recovered.place.edge.root() {
        let what = "the segments changed while they were published".into();
        return Err(LogError::Publish(what).into());
    }
    work.publish(&mut tiles).map_err(LogError::from)?;
    Ok(tiles)
}

enum Stopped {
    Read(ReadError),
    Tiles(TileError),
}

impl From<ReadError> for Stopped {
    fn from(e: ReadError) -> Self {
        Self::Read(e)
    }
}

struct Work<'a> {
    directory: PathBuf,
    edge: Edge,
    /// There once the records of the incomplete bundle have been gathered.
    tiles: Option<TileWriter>,
    partial: Vec<Vec<u8>>,
    /// The checkpoint to publish, with its size.
    note: Option<(u64, &'a [u8])>,
}

impl Work<'_> {
    fn record(&mut self, seq: u64, record: &[u8]) -> Result<(), Stopped> {
        let from = self.edge.size();
        if seq < from {
            if seq >= from - from % 256 {
                self.partial.push(record.to_vec());
            }
            return Ok(());
        }
        let mut tiles = self.take_tiles().map_err(Stopped::Tiles)?;
        let pushed = self.push(&mut tiles, record);
        self.tiles = Some(tiles);
        pushed.map_err(Stopped::Tiles)
    }

    fn push(&mut self, tiles: &mut TileWriter, record: &[u8]) -> Result<(), TileError> {
        self.publish(tiles)?;
        tiles.push(record);
        if tiles.size().is_multiple_of(STRIDE) { tiles.write() } else { Ok(()) }
    }

    fn take_tiles(&mut self) -> Result<TileWriter, TileError> {
        if let Some(tiles) = self.tiles.take() {
            return Ok(tiles);
        }
        TileWriter::resume(self.directory.clone(), self.edge.clone(), std::mem::take(&mut self.partial))
    }

    /// Publishes the checkpoint when the tiles stand exactly at it, so that every tile it needs is there.
    fn publish(&mut self, tiles: &mut TileWriter) -> Result<(), TileError> {
        if let Some((_, note)) = self.note.take_if(|(size, _)| *size == tiles.size()) {
            tiles.write()?;
            tiles.publish(note)?;
        }
        Ok(())
    }
}
