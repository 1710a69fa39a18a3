//! Jobs over the sessions: bounded queues, errors, stopping, with threads that prepare ahead or without.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ddae_infer::InferError;
use ddae_infer::device::Device;
use ddae_infer::workers::Workers;

use crate::scene::MODELS;

/// Two sessions, which prepare their own jobs or have them prepared by `producers` threads.
fn workers(producers: usize) -> Workers {
    Workers::open(&MODELS.fixed, Device::Cpu, 2).expect("sessions").with_producers(producers)
}

#[test]
fn every_job_is_done_once() {
    for producers in [0, 1, 3] {
        let mut workers = workers(producers);
        assert_eq!(workers.sessions(), 2);
        // Twice over: sessions can be used for job after job.
        for count in [0, 1, 100] {
            let mut seen = vec![0; count];
            let outcome = workers.run(
                count,
                &AtomicBool::new(false),
                |job| Ok(job * 3),
                |_, inputs| Ok(inputs + 1),
                |job, result| {
                    assert_eq!(result, job * 3 + 1);
                    seen[job] += 1;
                    Ok(())
                },
            );
            outcome.expect("no error");
            assert!(seen.iter().all(|&times| times == 1), "{producers} producers: {seen:?}");
        }
    }
}

/// A slow consumer stops the others: what waits is a few jobs, however many there are.
#[test]
fn queues_are_bounded() {
    for producers in [0, 3] {
        let (begun, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut consumed = 0;
        let outcome = workers(producers).run(
            300,
            &AtomicBool::new(false),
            |_| {
                begun.fetch_add(1, Ordering::SeqCst);
                Ok(())
            },
            |_, ()| Ok(()),
            |_, ()| {
                // Time for the others to run ahead as far as they can.
                std::thread::sleep(std::time::Duration::from_millis(1));
                most.fetch_max(begun.load(Ordering::SeqCst) - consumed, Ordering::SeqCst);
                consumed += 1;
                Ok(())
            },
        );
        outcome.expect("no error");
        // In the queues 4 and 4, in hand 2 at the sessions and one at each producer, and the one being consumed.
        let most = most.into_inner();
        assert!(most <= 4 + 4 + 2 + producers + 1, "{producers} producers: {most} jobs at a time");
    }
}

#[test]
fn the_first_error_ends_the_work() {
    let failure = || InferError::Argument("enough".to_string());
    for producers in [0, 2] {
        for stage in ["prepare", "compute", "consume"] {
            let begun = AtomicUsize::new(0);
            let fails = |here: &str, job: usize| here == stage && job == 5;
            let outcome = workers(producers).run(
                100_000,
                &AtomicBool::new(false),
                |job| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    if fails("prepare", job) { Err(failure()) } else { Ok(job) }
                },
                |_, job| if fails("compute", job) { Err(failure()) } else { Ok(()) },
                |job, ()| if fails("consume", job) { Err(failure()) } else { Ok(()) },
            );
            assert!(matches!(outcome, Err(InferError::Argument(_))), "{producers} {stage}: {outcome:?}");
            assert!(begun.into_inner() < 1000, "{producers} {stage}");
        }
    }
}

#[test]
fn a_stop_is_obeyed_unless_everything_is_done() {
    for producers in [0, 2] {
        let stop = AtomicBool::new(false);
        let mut consumed = 0;
        let outcome = workers(producers).run(
            100_000,
            &stop,
            Ok,
            |_, _| Ok(()),
            |_, ()| {
                consumed += 1;
                stop.store(consumed == 10, Ordering::SeqCst);
                if consumed > 10 {
                    stop.store(true, Ordering::SeqCst);
                }
                Ok(())
            },
        );
        assert!(matches!(outcome, Err(InferError::Interrupted)), "{outcome:?}");
        assert!(consumed < 100, "{consumed}");
        // Set when the last job is consumed, it changes nothing.
        let stop = AtomicBool::new(false);
        let outcome = workers(producers).run(
            3,
            &stop,
            Ok,
            |_, _| Ok(()),
            |_, ()| {
                stop.store(true, Ordering::SeqCst);
                Ok(())
            },
        );
        assert!(outcome.is_ok() || matches!(outcome, Err(InferError::Interrupted)));
    }
}
