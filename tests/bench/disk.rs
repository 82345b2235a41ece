//! One durable write alone.

use super::Outcome;
use super::load::Latencies;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

/// As much as a small batch of records.
const WRITE: [u8; 2048] = [0x5a; 2048];
const WRITES: usize = 500;

/// Median time in microseconds of one `fdatasync` after a write of 2 KiB into a zero-filled file in `directory`.
pub(crate) fn fdatasync(directory: &Path) -> Outcome<f64> {
    let path = directory.join("fdatasync");
    let mut file = File::create_new(&path)?;
    file.write_all(&vec![0; WRITE.len() * WRITES])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut times = Latencies::default();
    for _ in 0..WRITES {
        file.write_all(&WRITE)?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(times.quantile(0.5))
}
