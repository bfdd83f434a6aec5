//! Counting: by block equals one by one; calls and marks are exact; stack depths are known.

use crate::common::{build, options, run, CPUS};
use knoll_emu::machine::Finished;
use knoll_emu::measure::Measurement;
use knoll_emu::Options;

fn measured<'a>(finished: &'a Finished, name: &str) -> Measurement {
    let find = |names: &'a [String], list: &[knoll_emu::measure::Measured]| {
        names.iter().position(|n| n == name).map(|index| list[index].measurement())
    };
    find(&finished.measured, &finished.meter.symbols)
        .or_else(|| find(&finished.excluded, &finished.meter.excluded_symbols))
        .unwrap_or_else(|| panic!("{name} was not measured"))
}

fn mark(finished: &Finished, id: u32) -> Measurement {
    finished.meter.marks.get(&id).map(|m| m.measurement()).unwrap_or_else(|| panic!("no mark {id}"))
}

fn measure(cpu: &str, names: &[&str], exclude: &[&str]) -> Finished {
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    run(&build("counting", cpu), &Options { measure: list(names), exclude: list(exclude), ..options(&[]) })
}

#[test]
fn by_block_equals_one_by_one() {
    for cpu in CPUS {
        for (name, arguments) in [("counting", &[][..]), ("hello", &["hello"][..])] {
            let elf = build(name, cpu);
            let stepped = run(&elf, &Options { single_step: true, ..options(arguments) });
            let plain = run(&elf, &options(arguments));
            assert_eq!(stepped.single_steps.total(), stepped.instructions, "{name} on {cpu}");
            assert_eq!(plain.instructions, stepped.instructions, "{name} on {cpu}");
            assert!(plain.instructions > 5_000);
            // M0 has no IT; the others' C library uses it.
            assert_eq!(stepped.single_steps.skipped == 0, cpu == "m0", "{name} on {cpu}");
        }
    }
}

#[test]
fn slower_ways_count_the_same() {
    for cpu in CPUS {
        let elf = build("counting", cpu);
        let plain = run(&elf, &options(&[]));
        let all = Options { stack: true, measure: vec!["*".into()], ..options(&[]) };
        assert_eq!(run(&elf, &all).instructions, plain.instructions, "{cpu}");
    }
}

#[test]
fn calls_are_counted_exactly() {
    for cpu in CPUS {
        let finished = measure(cpu, &["five", "loop", "sum", "tail"], &[]);
        let five = measured(&finished, "five");
        // 20 through a pointer, 20 direct, 5 + 1 by a jump, one last.
        assert_eq!(five.instructions.count, 47, "{cpu}");
        assert_eq!((five.instructions.least, five.instructions.worst), (5, 5), "{cpu}");
        let loops = measured(&finished, "loop").instructions;
        // 20 of loop(i): 2 (i + 1) + 1, and loop(9).
        assert_eq!((loops.count, loops.least, loops.worst), (21, 3, 41), "{cpu}");
        assert_eq!(loops.total, (0..20).map(|i| 2 * (i + 1) + 1).sum::<u64>() + 21, "{cpu}");
        let sums = measured(&finished, "sum").instructions;
        // sum(0) is 4 instructions; each level adds 6.
        assert_eq!((sums.count, sums.least, sums.p50, sums.worst), (5, 4, 16, 28), "{cpu}");
        assert_eq!(measured(&finished, "tail").instructions.total, 6, "{cpu}");
        assert_eq!(measured(&finished, "five").abandoned, 0);
    }
}

#[test]
fn the_worst_call_is_told() {
    let finished = measure("m3", &["loop"], &[]);
    let worst = measured(&finished, "loop").worst_call;
    assert_eq!((worst.call, worst.arguments[0]), (20, 19));
}

#[test]
fn calls_that_never_return_are_told_apart() {
    for cpu in CPUS {
        let finished = measure(cpu, &["jumps_out", "five", "main"], &[]);
        let jumps = measured(&finished, "jumps_out");
        assert_eq!((jumps.instructions.count, jumps.abandoned), (0, 1 + 2 + 3), "{cpu}");
        assert_eq!(measured(&finished, "five").instructions.worst, 5, "{cpu}");
        assert_eq!(measured(&finished, "main").instructions.count, 1, "{cpu}");
    }
}

#[test]
fn excluded_functions_are_counted_apart() {
    for cpu in CPUS {
        let with = measured(&measure(cpu, &["copies"], &[]), "copies");
        let finished = measure(cpu, &["copies"], &["memcpy"]);
        let without = measured(&finished, "copies");
        assert_eq!(with.instructions.total, without.instructions.total + without.excluded, "{cpu}");
        // What is left does not depend on how much is copied.
        assert_eq!(without.instructions.least, without.instructions.worst, "{cpu}");
        assert!(without.instructions.worst < 10, "{cpu}");
        assert!(measured(&finished, "memcpy").instructions.total >= without.excluded, "{cpu}");
    }
}

#[test]
fn marks_are_exact() {
    for cpu in CPUS {
        let finished = run(&build("counting", cpu), &options(&[]));
        assert_eq!(finished.names.get(&1).map(String::as_str), Some("nothing"));
        let nothing = mark(&finished, 1).instructions;
        assert_eq!((nothing.count, nothing.worst), (1, 0), "{cpu}");
        let inner = mark(&finished, 3).instructions;
        assert_eq!((inner.count, inner.least, inner.worst), (10, 1, 1), "{cpu}");
        // 2 nops, the inner mark's store and branch and END, its nop, and what sets up the store.
        let outer = mark(&finished, 2).instructions;
        assert_eq!(outer.count, 10, "{cpu}");
        assert!((6..=9).contains(&outer.worst), "{cpu}: {}", outer.worst);
        for id in [10, 11] {
            let calls = mark(&finished, id).instructions;
            assert_eq!((calls.count, calls.least, calls.worst), (10, 5, 5), "{cpu} {id}");
        }
        let loops = mark(&finished, 12).instructions;
        assert_eq!((loops.count, loops.least, loops.worst), (20, 3, 41), "{cpu}");
        let tails = mark(&finished, 13).instructions;
        assert_eq!((tails.count, tails.least, tails.worst), (5, 5, 5), "{cpu}");
        assert_eq!(finished.meter.unmatched_ends, 0);
    }
}

#[test]
fn results_are_kept_in_order() {
    for cpu in CPUS {
        let finished = run(&build("counting", cpu), &options(&[]));
        let names: Vec<&str> = finished.results.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["calls", "clock runs", "negative", "again"]);
        let values: Vec<i64> = finished.results.iter().skip(1).map(|(_, value)| *value).collect();
        assert_eq!(values, [1, -5_000_000_000, 2], "{cpu}");
    }
}

#[test]
fn stack_depths_are_found() {
    for cpu in CPUS {
        let names = ["shallow", "deep", "dynamic", "main"];
        let measure = names.iter().map(|n| (*n).to_owned()).collect();
        let finished = run(&build("stack", cpu), &Options { stack: true, measure, ..options(&[]) });
        assert_eq!(measured(&finished, "shallow").stack, 8, "{cpu}");
        assert_eq!(measured(&finished, "deep").stack, 8 + 496 + 8, "{cpu}");
        let dynamic = measured(&finished, "dynamic").stack;
        assert!((3000..3100).contains(&dynamic), "{cpu}: {dynamic}");
        let (main, deepest) = (measured(&finished, "main").stack, finished.deepest.expect("it was looked for"));
        assert!(main >= dynamic + 8 && main < dynamic + 64, "{cpu}: {main}");
        assert!(deepest >= main && deepest < main + 200, "{cpu}: {deepest}");
    }
}
