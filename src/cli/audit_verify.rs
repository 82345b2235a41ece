//! `chancery audit verify`: verifies an export offline, without configuration, token or network.

use crate::audit::note::VerifierKey;
use crate::audit::tree::Hash;
use crate::exit::{DATA, IO, NO_INPUT, OK, USAGE};
use crate::export::{Configurations, Finding, Inputs, Kind, Report, verify};
use crate::jose::{from_base64url, other_form};
use crate::sha256::sha256;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of an export
    pub dir: PathBuf,

    /// Verifier key of the log, or a file with one on each line; without it the key in the export is believed
    #[arg(long, value_name = "VKEY|FILE")]
    pub key: Vec<String>,

    /// A checkpoint of this log that was seen before; the export must extend it. May be repeated
    #[arg(long, value_name = "FILE")]
    pub earlier: Vec<PathBuf>,

    /// File with signed answers, one compact JWT on each line; each must have a record. May be repeated
    #[arg(long, value_name = "FILE")]
    pub jwt: Vec<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// One JWT whose record is searched.
struct Answer {
    file: PathBuf,
    line: usize,
    digest: Hash,
    /// Hash of the JWT with its ECDSA signature in the other form, which any holder can write.
    other_form: Hash,
    /// Whether the record has that form.
    is_other_form: bool,
}

/// Reasons to end without a result.
enum Stop {
    Usage(String),
    Found(Finding),
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Found(finding)
    }
}

/// Verifies and prints the result to standard output, errors and progress to standard error.
///
/// Exit status 0: verified. 65: something is wrong. 66: a file or directory is missing. 64: wrong use. 74: a failure to
/// read or write.
pub fn run(args: &Args) -> u8 {
    match check(args) {
        Ok((report, answers)) => {
            let words = || printable(&in_words(&report, &answers));
            let text = if args.json { in_json(&report, &answers) } else { words() };
            print(&text, OK)
        }
        Err(Stop::Usage(message)) => {
            complain!("chancery: {message}");
            USAGE
        }
        Err(Stop::Found(finding)) => {
            let status = match finding.kind {
                Kind::NoInput => NO_INPUT,
                Kind::Unreadable => IO,
                _ => DATA,
            };
            if args.json {
                let finding = json!({ "verified": false, "finding": finding });
                print(&format!("{finding:#}\n"), status)
            } else {
                complain!("chancery: NOT VERIFIED: {}", printable(&finding.to_string()));
                status
            }
        }
    }
}

fn print(text: &str, status: u8) -> u8 {
    let mut out = io::stdout().lock();
    // A closed pipe must not hide the result of the verification.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(_) if status == OK => IO,
        _ => status,
    }
}

/// An export is hostile input: its texts must not control the auditor's terminal.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Letters of any script pass; controls, format and bidirectional characters do not.
        let shown = c == '\n' || c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric());
        if shown { out.push(c) } else { out.extend(c.escape_unicode()) }
    }
    out
}

fn check(args: &Args) -> Result<(Report, Vec<(Answer, u64)>), Stop> {
    let mut inputs = Inputs::default();
    for text in &args.key {
        inputs.keys.extend(keys(text)?);
    }
    for file in &args.earlier {
        inputs.earlier.push((file.clone(), input(file)?));
    }
    let mut answers = Vec::new();
    for file in &args.jwt {
        answers.extend(self::answers(file)?);
    }
    let forms = answers.iter().flat_map(|answer: &Answer| [answer.digest, answer.other_form]);
    inputs.answers = forms.collect();
    let report = verify(&args.dir, &inputs, &mut progress())?;
    let mut found = Vec::new();
    for (mut answer, records) in answers.into_iter().zip(report.answers.chunks(2)) {
        answer.is_other_form = matches!(records, [None, Some(_)]);
        let Some(record) = records.iter().flatten().next() else {
            let line = answer.line;
            let message =
                format!("no record in this export is of the JWT in line {line}; the export itself is sound");
            return Err(Finding::new(Kind::JwtNotFound, message).at(answer.file).into());
        };
        found.push((answer, *record));
    }
    Ok((report, found))
}

/// A key as text, or the file that holds keys.
fn keys(text: &str) -> Result<Vec<VerifierKey>, Stop> {
    match VerifierKey::parse(text) {
        Ok(key) => return Ok(vec![key]),
        // A path with two plus signs is rarer than a mistyped key.
        Err(why) if text.matches('+').count() >= 2 && !Path::new(text).exists() => {
            return Err(Stop::Usage(format!("--key: {why}")));
        }
        Err(_) => (),
    }
    let bytes = input(Path::new(text))?;
    let lines = String::from_utf8_lossy(&bytes);
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<_>, _> = lines.map(VerifierKey::parse).collect();
    match keys {
        Ok(keys) if !keys.is_empty() => Ok(keys),
        Ok(_) => {
            Err(Finding::new(Kind::KeysMalformed, "expected a verifier key, found none").at(text).into())
        }
        Err(why) => Err(Finding::new(Kind::KeysMalformed, why.to_string()).at(text).into()),
    }
}

/// The JWTs in a file. The record covers the exact compact form, so only surrounding white space is cut.
fn answers(file: &Path) -> Result<Vec<Answer>, Stop> {
    let bytes = input(file)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut out = Vec::new();
    for (place, jwt) in text.lines().map(str::trim).enumerate().filter(|(_, jwt)| !jwt.is_empty()) {
        let line = place + 1;
        let parts = jwt.split('.').count();
        if parts != 3 || jwt.split('.').any(|part| from_base64url(part).is_none()) {
            let encrypted = if parts == 5 { " (an encrypted one must be decrypted first)" } else { "" };
            let message = format!("line {line} is no signed JWT in compact form{encrypted}");
            return Err(Finding::new(Kind::JwtNotFound, message).at(file).into());
        }
        let digest = sha256(jwt.as_bytes());
        let other_form = other_form(jwt).map_or(digest, |other| sha256(other.as_bytes()));
        out.push(Answer { file: file.to_owned(), line, digest, other_form, is_other_form: false });
    }
    if out.is_empty() {
        return Err(Finding::new(Kind::JwtNotFound, "expected a JWT, found none").at(file).into());
    }
    Ok(out)
}

fn input(file: &Path) -> Result<Vec<u8>, Stop> {
    fs::read(file).map_err(|why| Finding::new(Kind::NoInput, why.to_string()).at(file).into())
}

/// Percentages on a terminal, nothing in a pipe.
fn progress() -> impl FnMut(u64, u64) {
    let terminal = io::stderr().is_terminal();
    let mut shown = None;
    move |done, all| {
        let percent = u128::from(done) * 100 / u128::from(all.max(1));
        if terminal && shown != Some(percent) {
            shown = Some(percent);
            let end = if done == all { "\r\x1b[K" } else { "" };
            eprint!("\rverifying: {percent:3} % of {all} records{end}");
        }
    }
}

const OTHER_FORM: &str =
    ", whose ECDSA signature (r, s) somebody wrote as (r, n - s); it verifies too, and says the same";

const KEY_WARNING: &str = "the key came from the export itself. This shows that the export is whole and \
    consistent, not who made it: compare the key with the one that the operator published, or give it with --key";

fn in_words(report: &Report, answers: &[(Answer, u64)]) -> String {
    let mut out = vec![format!("verified: {} records of {}", report.size, report.origin)];
    let mut line = |name: &str, value: String| out.push(format!("  {name:<16}{value}"));
    line("root", hex::encode(report.root));
    if let Some((first, last)) = report.times {
        line("from", first.to_string());
        line("to", last.to_string());
    }
    for key in &report.log_keys {
        line("signed by", key.to_string());
    }
    if report.earlier > 0 {
        line("extends", format!("{} earlier checkpoint(s)", report.earlier));
    }
    line("signing keys", report.signing_keys.to_string());
    line("signed answers", report.signed_answers.to_string());
    for (event, count) in &report.events {
        line("", format!("{count:>12} {event}"));
    }
    if let Some(Configurations { record, gateway, signer }) = &report.configurations {
        let (gateway, signer) = (hex::encode(gateway), hex::encode(signer));
        line("configuration", format!("gateway {gateway}, signer {signer}, from record {record} on"));
    }
    for (answer, record) in answers {
        let form = if answer.is_other_form { OTHER_FORM } else { "" };
        line("answer", format!("{}, line {}: record {record}{form}", answer.file.display(), answer.line));
    }
    if report.key_from_bundle {
        out.push(format!("warning: {KEY_WARNING}"));
    }
    out.push(String::new());
    out.join("\n")
}

fn in_json(report: &Report, answers: &[(Answer, u64)]) -> String {
    let answers: Vec<Value> = answers
        .iter()
        .map(|(answer, record)| {
            json!({ "file": answer.file.display().to_string(), "line": answer.line, "sha256": hex::encode(answer.digest), "record": record,
                "other_form": answer.is_other_form })
        })
        .collect();
    let value = json!({
        "verified": true,
        "origin": report.origin,
        "size": report.size,
        "root": hex::encode(report.root),
        "first_time": report.times.map(|(first, _)| first.to_string()),
        "last_time": report.times.map(|(_, last)| last.to_string()),
        "log_keys": report.log_keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "key_from_export": report.key_from_bundle,
        "earlier_checkpoints": report.earlier,
        "signing_keys": report.signing_keys,
        "signed_answers": report.signed_answers,
        "events": report.events,
        "configurations": report.configurations.map(|used| json!({
            "from_record": used.record, "gateway": hex::encode(used.gateway), "signer": hex::encode(used.signer),
        })),
        "answers": answers,
        "warnings": if report.key_from_bundle { vec![KEY_WARNING] } else { Vec::new() },
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::{Log, answer};
    use tempfile::TempDir;

    fn args(dir: &Path) -> Args {
        Args { dir: dir.to_owned(), key: Vec::new(), earlier: Vec::new(), jwt: Vec::new(), json: false }
    }

    fn file(directory: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn kind(args: &Args) -> Option<Kind> {
        match check(args) {
            Ok(_) => None,
            Err(Stop::Found(finding)) => Some(finding.kind),
            Err(Stop::Usage(message)) => panic!("{message}"),
        }
    }

    #[test]
    fn exit_statuses_are_those_of_sysexits() {
        let log = Log::new(60);
        let (bundle, other) = (log.bundle(), TempDir::new().unwrap());
        assert_eq!(run(&args(bundle.path())), 0);
        assert_eq!(run(&args(&other.path().join("none"))), 66);
        assert_eq!(run(&args(other.path())), 65);
        assert_eq!(run(&Args { json: true, ..args(other.path()) }), 65);
        let wrong = Args { key: vec!["a+b+c".to_owned()], ..args(bundle.path()) };
        assert_eq!(run(&wrong), 64);
        let absent = Args { earlier: vec![other.path().join("none")], ..args(bundle.path()) };
        assert_eq!(run(&absent), 66);
    }

    #[test]
    fn a_key_may_be_given_as_text_or_in_a_file() {
        let log = Log::new(60);
        let (bundle, other) = (log.bundle(), TempDir::new().unwrap());
        let vkey = log.checkpoints.vkey().to_string();
        let path = file(&other, "key", format!("# the log of node a\n{vkey}\n"));
        for key in [vkey, path.to_str().unwrap().to_owned()] {
            let (report, _) = check(&Args { key: vec![key], ..args(bundle.path()) }).ok().unwrap();
            assert!(!report.key_from_bundle && !in_words(&report, &[]).contains("warning"));
        }
        let empty = file(&other, "empty", "# nothing\n").to_str().unwrap().to_owned();
        assert_eq!(kind(&Args { key: vec![empty], ..args(bundle.path()) }), Some(Kind::KeysMalformed));
    }

    #[test]
    fn without_a_key_the_result_names_what_is_not_proved() {
        let (report, answers) = check(&args(Log::new(60).bundle().path())).ok().unwrap();
        let words = in_words(&report, &answers);
        assert!(words.starts_with("verified: 60 records of as.bank.example/audit/node-a\n"), "{words}");
        assert!(words.contains("warning: ") && words.contains("not who made it"), "{words}");
        let json: Value = serde_json::from_str(&in_json(&report, &answers)).unwrap();
        assert_eq!(
            (&json["verified"], &json["size"], &json["key_from_export"]),
            (&true.into(), &60.into(), &true.into())
        );
        assert_eq!(json["events"]["checkpoint-signed"], 1);
    }

    #[test]
    fn the_record_of_each_jwt_is_named_and_one_without_record_fails() {
        let log = Log::new(60);
        let (bundle, other) = (log.bundle(), TempDir::new().unwrap());
        let two = file(&other, "two", format!("{}\n\n{}\n", answer(7), answer(58)));
        let one = file(&other, "one", answer(3));
        let asked = Args { jwt: vec![two.clone(), one], ..args(bundle.path()) };
        let (report, answers) = check(&asked).ok().unwrap();
        let found: Vec<_> = answers.iter().map(|(answer, record)| (answer.line, *record)).collect();
        assert_eq!(found, [(1, 7), (3, 58), (1, 3)]);
        assert!(in_words(&report, &answers).contains("two, line 3: record 58\n"));
        for bad in [
            answer(1_000),
            "a.b".to_owned(),
            format!("{}\n<html>", answer(3)),
            String::new(),
            "a.b.c.d.e".to_owned(),
        ] {
            let jwt = vec![two.clone(), file(&other, "bad", &bad)];
            assert_eq!(kind(&Args { jwt, ..args(bundle.path()) }), Some(Kind::JwtNotFound), "{bad}");
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_a_finding_in_json_too() {
        use std::os::unix::ffi::OsStrExt;
        let bundle = Log::new(60).bundle();
        fs::write(bundle.path().join(std::ffi::OsStr::from_bytes(b"n\xff")), "x").unwrap();
        let Err(Stop::Found(finding)) = check(&args(bundle.path())) else { panic!("a file too many passes") };
        assert_eq!(json!(finding)["file"], "n\u{fffd}");
    }

    #[test]
    fn texts_of_an_export_do_not_control_the_terminal() {
        assert_eq!(printable("kid \x1b[2J\u{9b}\n"), "kid \\u{1b}[2J\\u{9b}\n");
        assert_eq!(printable("caf\u{e9} \u{202e}gpj.\u{200b}"), "caf\u{e9} \\u{202e}gpj.\\u{200b}");
    }

    #[test]
    fn the_export_must_extend_the_checkpoints_seen_before() {
        let (log, other) = (Log::new(60), TempDir::new().unwrap());
        let bundle = log.bundle();
        let seen = file(&other, "seen", log.checkpoints.note(&log.records[..40]));
        let (report, _) = check(&Args { earlier: vec![seen], ..args(bundle.path()) }).ok().unwrap();
        assert_eq!(report.earlier, 1);
        let mut changed = log.records[..40].to_vec();
        changed[5].push(b' ');
        let fork = file(&other, "fork", log.checkpoints.note(&changed));
        assert_eq!(kind(&Args { earlier: vec![fork], ..args(bundle.path()) }), Some(Kind::Forked));
    }
}
