use super::*;
use std::path::PathBuf;

fn files(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

#[test]
fn every_changed_byte_of_every_file_is_found() {
    let bundle = Log::new(4).bundle();
    check(&bundle).unwrap();
    let mut all = Vec::new();
    files(bundle.path(), &mut all);
    assert_eq!(all.len(), 5);
    for path in all {
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&path, &changed).unwrap();
            assert!(check(&bundle).is_err(), "byte {at} of {}", path.display());
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(check(&bundle).is_err(), "{} cut to {length}", path.display());
        }
        fs::write(&path, [bytes.as_slice(), b"\n"].concat()).unwrap();
        assert!(check(&bundle).is_err(), "{} with one more byte", path.display());
        fs::write(&path, &bytes).unwrap();
    }
    check(&bundle).unwrap();
}
