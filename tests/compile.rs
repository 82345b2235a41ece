//! Programs that the compiler refuses: reading, copying or releasing without a receipt, and making the proofs by hand.
//!
//! Each program in `compile/refused` has a twin of its name in `compile/allowed` that does what is allowed instead, so
//! that none is refused for another reason than the one it is about. What is compared is the code of the error, which
//! stays when the compiler's words change. The programs are compiled against the library as cargo has built it already:
//! a project of their own would build every dependency once more.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every refused program and why it is refused.
const REFUSED: [(&str, &str); 10] = [
    ("client_made", "E0451"),
    ("receipt_copied", "E0308"),
    ("receipt_made", "E0624"),
    ("recorded_made", "E0451"),
    ("released_made", "E0451"),
    ("released_twice", "E0382"),
    ("released_without_receipt", "E0061"),
    ("sealed_copied", "E0599"),
    ("sealed_field", "E0616"),
    ("sealed_read", "E0599"),
];

fn programs(directory: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile").join(directory);
    let names =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.strip_suffix(".rs").expect("programs alone").to_owned()).collect()
}

/// The library's file, as cargo says.
fn library() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--lib", "--quiet", "--offline", "--message-format=json"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let messages = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut libraries =
        messages.filter(|m| m["reason"] == "compiler-artifact" && m["target"]["name"] == "chancery");
    let library = libraries.next().expect("cargo names the library");
    let mut files =
        library["filenames"].as_array().unwrap().iter().map(|file| PathBuf::from(file.as_str().unwrap()));
    files.find(|file| file.extension().is_some_and(|extension| extension == "rlib")).expect("an rlib")
}

/// Codes of the errors that the compiler finds in a program.
fn errors(library: &Path, program: &Path) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args([
        "--edition=2024",
        "--crate-type=bin",
        "--emit=metadata",
        "--error-format=json",
        "--out-dir",
    ]);
    command.arg(scratch.path()).arg("--extern").arg(format!("chancery={}", library.display()));
    for directory in [library.with_file_name(""), library.with_file_name("deps")] {
        command.arg("-L").arg(format!("dependency={}", directory.display()));
    }
    let output = command.arg("-Cpanic=abort").arg(program).output().expect("rustc is there");
    let said = String::from_utf8(output.stderr).unwrap();
    let mut codes = Vec::new();
    for line in said.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"));
        if message["level"] == "error" && message["spans"].as_array().is_some_and(|spans| !spans.is_empty()) {
            codes.push(message["code"]["code"].as_str().unwrap_or("no code").to_owned());
        }
    }
    assert_eq!(output.status.success(), codes.is_empty(), "{said}");
    codes
}

#[test]
fn refused_programs_do_not_compile_and_their_allowed_twins_do() {
    let names: BTreeSet<String> = REFUSED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!((programs("refused"), programs("allowed")), (names.clone(), names), "each has a twin");
    let library = library();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile");
    for (name, code) in REFUSED {
        let file = format!("{name}.rs");
        let found = errors(&library, &programs.join("refused").join(&file));
        assert!(
            !found.is_empty() && found.iter().all(|found| found == code),
            "{name}: expected {code}, found {found:?}"
        );
        let found = errors(&library, &programs.join("allowed").join(&file));
        assert_eq!(found, Vec::<String>::new(), "{name}: its twin compiles");
    }
}
