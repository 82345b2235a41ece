//! Reads and parses the records of a directory on all processors, and returns them in order.

use super::Finding;
use super::facts::Facts;
use crate::audit::tiles::{Kind as TileKind, Tile, TileReader, WIDTH};
use crate::audit::tree::{Hash, leaf_hash};
use crate::sha256::sha256;
use std::sync::mpsc::sync_channel;

/// One bundle of records, parsed without knowledge of the records before.
pub(super) struct Sheet {
    /// Number and width of the bundle.
    pub(super) tile: Tile,
    /// Length and SHA-256 of its file.
    pub(super) file: (u64, Hash),
    /// Leaf hash and members of each record.
    pub(super) records: Vec<(Hash, Result<Facts, Finding>)>,
}

/// Passes each bundle of the first `size` records to `take`, in order, until one returns an error.
///
/// Every processor holds a few bundles at a time, so memory does not grow with the log.
pub(super) fn read(
    reader: &TileReader,
    size: u64,
    origin: &str,
    mut take: impl FnMut(Sheet) -> Result<(), Finding>,
) -> Result<(), Finding> {
    let bundles = size.div_ceil(WIDTH);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    std::thread::scope(|scope| {
        let mut queues = Vec::new();
        for first in (0..bundles).take(workers) {
            let (send, receive) = sync_channel(4);
            queues.push(receive);
            scope.spawn(move || {
                for index in (first..bundles).step_by(workers) {
                    let width = (size - index * WIDTH).min(WIDTH);
                    let tile = Tile { kind: TileKind::Entries, index, width };
                    // The receiver ends after an error.
                    if send.send(sheet(reader, tile, origin)).is_err() {
                        return;
                    }
                }
            });
        }
        // A worker that ended early ends this too; the caller then notices missing records.
        (0..bundles)
            .zip(queues.iter().cycle())
            .map_while(|(_, queue)| queue.recv().ok())
            .try_for_each(|s| take(s?))
    })
}

fn sheet(reader: &TileReader, tile: Tile, origin: &str) -> Result<Sheet, Finding> {
    let bundle =
        reader.bundle(tile.index, tile.width).map_err(|why| Finding::tile(&why, reader.directory()))?;
    let file = (bundle.as_bytes().len() as u64, sha256(bundle.as_bytes()));
    let records = bundle.records().map(|record| (leaf_hash(record), Facts::read(record, origin))).collect();
    Ok(Sheet { tile, file, records })
}
