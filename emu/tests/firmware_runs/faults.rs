//! Faults: each kind is recognised, on each processor, and its backtrace names who did it.

use crate::common::{build, callers, options, run, CPUS};
use knoll_emu::cpu::Cpu;
use knoll_emu::fault::{End, FaultKind, STATUS_FAULT};
use knoll_emu::machine::Finished;
use knoll_emu::Options;

fn fault(cpu: &str, what: &str) -> (FaultKind, Finished) {
    let finished = run(&build("faults", cpu), &options(&[what]));
    match &finished.end {
        End::Fault(kind, _) => (*kind, finished),
        other => panic!("{what} on {cpu}: {other}"),
    }
}

#[test]
fn each_kind_is_named_with_a_backtrace() {
    for cpu in CPUS {
        for what in [
            "read_unmapped",
            "write_unmapped",
            "write_flash",
            "invalid_instruction",
            "breakpoint",
            "exception",
            "asleep",
            "endless_loop",
            "stack_overflow",
        ] {
            let (kind, finished) = fault(cpu, what);
            assert_eq!(kind.name(), what, "{cpu}");
            assert_eq!(finished.end.status(), STATUS_FAULT);
            let callers = callers(&finished);
            assert_eq!(callers[0], what, "{cpu}: {callers:?}");
            let callers: Vec<&str> = callers.iter().map(String::as_str).skip_while(|name| *name == what).collect();
            // The recursion is called at a function's end, by a jump, where the compiler can.
            let jumped = what == "stack_overflow" && callers[0] == "main";
            let expected = ["middle", "main", "start", "Reset_Handler"];
            assert_eq!(callers, expected[usize::from(jumped)..], "{cpu} {what}");
        }
    }
}

#[test]
fn addresses_are_told() {
    for cpu in CPUS {
        assert_eq!(fault(cpu, "read_unmapped").0, FaultKind::ReadUnmapped { address: 0x6000_0000, bytes: 4 });
        assert_eq!(fault(cpu, "read_null").0, FaultKind::ReadUnmapped { address: 0, bytes: 4 });
        assert_eq!(fault(cpu, "write_unmapped").0, FaultKind::WriteUnmapped { address: 0x2070_0000, bytes: 4 });
        assert_eq!(fault(cpu, "breakpoint").0, FaultKind::Breakpoint { number: 0x12 });
        assert_eq!(fault(cpu, "bad_port").0, FaultKind::BadPort { offset: 0x400, value: 5 });
    }
}

#[test]
fn jumps_astray_are_blamed_on_the_caller() {
    for cpu in CPUS {
        let (kind, finished) = fault(cpu, "jump_unmapped");
        assert_eq!(kind, FaultKind::FetchUnmapped { address: 0x7000_0000 }, "{cpu}");
        assert!(callers(&finished).contains(&"jump_unmapped".to_owned()), "{:?}", callers(&finished));
        let (kind, finished) = fault(cpu, "not_thumb");
        assert_eq!(kind, FaultKind::NotThumb, "{cpu}");
        assert!(callers(&finished).contains(&"not_thumb".to_owned()), "{:?}", callers(&finished));
    }
}

#[test]
fn the_processor_is_the_one_asked_for() {
    // Code for a Cortex-M4 uses what the smaller ones don't have.
    for (cpu, fits) in [(Cpu::M0, false), (Cpu::M3, false), (Cpu::M4, true)] {
        let options = Options { cpu: Some(cpu), ..options(&["hello"]) };
        let finished = run(&build("hello", "m4"), &options);
        match finished.end {
            End::Exit(7) => assert!(fits, "{cpu}"),
            End::Fault(FaultKind::InvalidInstruction, _) => assert!(!fits, "{cpu}"),
            other => panic!("{cpu}: {other}"),
        }
    }
}

#[test]
fn only_m0_faults_on_an_unaligned_word() {
    let (kind, finished) = fault("m0", "unaligned");
    assert_eq!(kind, FaultKind::Unaligned);
    assert_eq!(callers(&finished)[..2], ["unaligned", "middle"]);
    for cpu in ["m3", "m4", "m4f"] {
        let finished = run(&build("faults", cpu), &options(&["unaligned"]));
        assert!(matches!(finished.end, End::Exit(3)), "{cpu}: {}", finished.end);
    }
}

#[test]
fn the_watch_finds_unaligned_multiple_stores() {
    for cpu in CPUS {
        let options = Options { watch: true, ..options(&["unaligned_pair"]) };
        let finished = run(&build("faults", cpu), &options);
        assert!(matches!(finished.end, End::Fault(FaultKind::Unaligned, _)), "{cpu}: {}", finished.end);
        assert_eq!(callers(&finished)[0], "unaligned_pair", "{cpu}");
    }
}

#[test]
fn lines_and_registers_are_shown() {
    let (_, finished) = fault("m4", "write_flash");
    let text = finished.end.state().expect("it faulted").to_string();
    let [sp, pc] = [13, 15].map(|n| finished.end.state().expect("it faulted").registers[n]);
    assert!(text.contains(&format!("sp {sp:08x}")) && text.contains(&format!("pc {pc:08x}")), "{text}");
    assert!(text.contains("faults.c:"), "{text}");
}
