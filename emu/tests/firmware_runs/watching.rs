//! The write watch: a store by Knoll outside its memory stops the run, anyone else's does not.

use crate::common::{build_with, callers, fake_knoll, options, program, run, CPUS};
use knoll_emu::fault::{End, STATUS_BAD_WRITE};
use knoll_emu::machine::Finished;
use knoll_emu::watch::BadWrite;
use knoll_emu::Options;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

fn firmware(cpu: &str) -> PathBuf {
    // The archive's path is part of the key under which a build is kept, so keep that the same.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fake-{cpu}"));
    std::fs::create_dir_all(&folder).expect("a folder for the archive");
    let archive = folder.join("libknoll.a");
    static BUILDING: Mutex<()> = Mutex::new(());
    let _only_one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if !archive.exists() {
        fake_knoll(&folder, cpu);
    }
    build_with("watch", cpu, &[archive], &[])
}

fn watched(cpu: &str, what: &str) -> Finished {
    run(&firmware(cpu), &Options { watch: true, ..options(&[what]) })
}

fn bad_write(cpu: &str, what: &str) -> (BadWrite, Vec<String>) {
    let finished = watched(cpu, what);
    assert_eq!(finished.end.status(), STATUS_BAD_WRITE, "{what} on {cpu}: {}", finished.end);
    match &finished.end {
        End::BadWrite(write, _) => (*write, callers(&finished)),
        other => panic!("{what} on {cpu}: {other}"),
    }
}

#[test]
fn good_behaviour_passes() {
    for cpu in CPUS {
        let finished = watched(cpu, "good");
        assert!(matches!(finished.end, End::Exit(0)), "{cpu}: {} {:?}", finished.end, finished.end.state());
        assert_eq!(finished.output, "2\n", "{cpu}");
        let writes = finished.watched.expect("it was watched");
        assert!(writes > 500, "{cpu}: {writes}");
    }
}

#[test]
fn watching_changes_nothing() {
    for cpu in CPUS {
        let plain = run(&firmware(cpu), &options(&["good"]));
        let seen = watched(cpu, "good");
        assert_eq!((seen.output, seen.instructions), (plain.output, plain.instructions), "{cpu}");
    }
}

#[test]
fn a_bad_store_is_caught() {
    for cpu in CPUS {
        let (write, callers) = bad_write(cpu, "store");
        assert_eq!((write.bytes, write.value), (1, 2), "{cpu}");
        assert!(callers[..2].contains(&"store".to_owned()), "{cpu}: {callers:?}");
        assert!(callers.contains(&"main".to_owned()), "{cpu}: {callers:?}");
    }
}

#[test]
fn a_function_is_knolls_by_its_name_too() {
    for cpu in CPUS {
        let (_, callers) = bad_write(cpu, "named");
        assert_eq!(callers[0], "kn_named", "{cpu}");
    }
}

#[test]
fn memory_functions_write_for_their_caller() {
    for cpu in CPUS {
        for what in ["copy", "fill"] {
            let (_, callers) = bad_write(cpu, what);
            assert!(callers[0].starts_with("mem"), "{cpu}: {callers:?}");
            assert!(callers.contains(&"main".to_owned()), "{cpu}: {callers:?}");
        }
    }
}

#[test]
fn one_byte_past_the_heap_is_caught() {
    for cpu in CPUS {
        let (write, _) = bad_write(cpu, "past");
        let start = u64::from(write.address);
        let (inside, _) = bad_write(cpu, "forbidden");
        // heap + 1024 against heap + 104: the store may be a word that straddles the end.
        let distance = start + u64::from(write.bytes) - u64::from(inside.address);
        assert!((1024 - 104 + 1..=1024 - 104 + 4).contains(&distance), "{cpu}: {distance}");
    }
}

#[test]
fn without_the_watch_nothing_is_said() {
    let finished = run(&firmware("m3"), &options(&["store"]));
    assert!(matches!(finished.end, End::Exit(0)), "{}", finished.end);
    assert_eq!(finished.watched, None);
}

#[test]
fn the_program_tells_the_story() {
    let output =
        program().arg("run").arg(firmware("m4")).args(["--watch", "--arg", "store"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(STATUS_BAD_WRITE));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("bad write: Knoll stored 0x2 (1 bytes)"), "{text}");
    assert!(text.contains("fake_knoll.c:"), "{text}");
}
