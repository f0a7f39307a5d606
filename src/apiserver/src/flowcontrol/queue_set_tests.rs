//! The scheduler on simulated time.

use super::*;
use std::collections::BTreeMap;

const MILLI: Nanos = 1_000_000;

/// A client: how many requests it keeps under way, and how long each takes.
struct Client {
    hash: u64,
    at_once: u32,
    takes: Nanos,
    seats: u32,
}

/// What a client got.
#[derive(Clone, Copy, Debug, Default)]
struct Got {
    done: u64,
    refused: u64,
    seat_nanos: u128,
    longest_wait: Nanos,
}

#[derive(Clone, Copy)]
struct Ticket {
    client: usize,
    arrived: Nanos,
}

/// Runs clients that send again as soon as they have an answer, for some simulated time.
fn simulate(mut set: QueueSet<Ticket>, clients: &[Client], until: Nanos) -> Vec<Got> {
    let mut got = vec![Got::default(); clients.len()];
    // By time and number: what ends, or comes again.
    let mut agenda: BTreeMap<(Nanos, u64), Step> = BTreeMap::new();
    enum Step {
        Send(usize),
        End { client: usize, queue: u32, began: Nanos },
    }
    let mut number = 0;
    for (client, one) in clients.iter().enumerate() {
        for _ in 0..one.at_once {
            agenda.insert((0, number), Step::Send(client));
            number += 1;
        }
    }
    while let Some(((now, _), step)) = agenda.pop_first() {
        if now > until {
            break;
        }
        let mut started: Vec<(Ticket, u32)> = Vec::new();
        match step {
            Step::Send(client) => {
                let ticket = Ticket { client, arrived: now };
                let one = &clients[client];
                match set.arrive(now, one.hash, one.seats, || ticket, |w, q| started.push((w, q))) {
                    Arrival::Run { queue } => started.push((ticket, queue)),
                    Arrival::Waits { .. } => {}
                    Arrival::Rejected(_) => {
                        got[client].refused += 1;
                        agenda.insert((now + MILLI, number), Step::Send(client));
                        number += 1;
                    }
                }
            }
            Step::End { client, queue, began } => {
                let one = &clients[client];
                set.finish(now, queue, one.seats, now - began, |w, q| started.push((w, q)));
                got[client].done += 1;
                got[client].seat_nanos += u128::from(now - began) * u128::from(one.seats);
                agenda.insert((now, number), Step::Send(client));
                number += 1;
            }
        }
        for (ticket, queue) in started {
            let mine = &mut got[ticket.client];
            mine.longest_wait = mine.longest_wait.max(now - ticket.arrived);
            let end = Step::End { client: ticket.client, queue, began: now };
            agenda.insert((now + clients[ticket.client].takes, number), end);
            number += 1;
        }
    }
    got
}

fn queues(limit: u32) -> QueueSet<Ticket> {
    QueueSet::new(limit, Some(Queuing { queues: 64, hand_size: 6, length_limit: 50 }))
}

fn client(hash: u64, at_once: u32, takes: Nanos) -> Client {
    Client { hash: hash.wrapping_mul(0x9e37_79b9_7f4a_7c15), at_once, takes, seats: 1 }
}

#[test]
fn a_noisy_flow_does_not_starve_a_quiet_one() {
    let noisy = client(1, 200, 20 * MILLI);
    let quiet = client(2, 1, 5 * MILLI);
    let got = simulate(queues(4), &[noisy, quiet], 20_000 * MILLI);
    // Alone, it would be answered 200 times a second. It waits for a seat to come free, at most for two rounds.
    assert!(got[1].done > 20 * 80, "{got:?}");
    assert!(got[1].longest_wait <= 41 * MILLI, "{got:?}");
    assert_eq!(got[1].refused, 0);
    // And the noisy one has all the rest.
    assert!(got[0].seat_nanos > 3 * 20_000 * u128::from(MILLI) * 9 / 10, "{got:?}");
}

#[test]
fn busy_flows_get_equal_shares_whatever_they_send() {
    let clients = [client(1, 100, 10 * MILLI), client(2, 20, 40 * MILLI), client(3, 300, 2 * MILLI)];
    // One queue each, or the shares would be those of queues.
    let set = QueueSet::new(6, Some(Queuing { queues: 512, hand_size: 1, length_limit: 500 }));
    let got = simulate(set, &clients, 60_000 * MILLI);
    let total: u128 = got.iter().map(|one| one.seat_nanos).sum();
    for one in &got {
        let share = one.seat_nanos * 100 / total;
        assert!((30..=37).contains(&share), "{share}% of {got:?}");
    }
}

#[test]
fn wide_requests_pay_for_their_width_and_are_not_passed_by_for_ever() {
    let wide = Client { seats: 4, ..client(1, 10, 10 * MILLI) };
    let narrow = client(2, 10, 10 * MILLI);
    let set = QueueSet::new(4, Some(Queuing { queues: 512, hand_size: 1, length_limit: 50 }));
    let got = simulate(set, &[wide, narrow], 30_000 * MILLI);
    assert!(got[0].done > 300 && got[1].done > 1000, "{got:?}");
    let ratio = got[0].seat_nanos * 100 / got[1].seat_nanos;
    assert!((60..=170).contains(&ratio), "{ratio}% {got:?}");
}

#[test]
fn a_request_wider_than_the_level_runs_alone() {
    let mut set: QueueSet<u8> = QueueSet::new(2, Some(Queuing { queues: 4, hand_size: 1, length_limit: 5 }));
    assert!(matches!(set.arrive(0, 1, 9, || 0, |_, _| ()), Arrival::Run { .. }));
    assert!(matches!(set.arrive(0, 2, 1, || 0, |_, _| ()), Arrival::Waits { .. }));
}

#[test]
fn without_queues_the_seats_are_the_limit() {
    let mut set: QueueSet<()> = QueueSet::new(2, None);
    let arrive = |set: &mut QueueSet<()>| set.arrive(0, 7, 1, || (), |(), _| ());
    assert_eq!(arrive(&mut set), Arrival::Run { queue: 0 });
    assert_eq!(arrive(&mut set), Arrival::Run { queue: 0 });
    assert_eq!(arrive(&mut set), Arrival::Rejected(Reason::ConcurrencyLimit));
    set.finish(MILLI, 0, 1, MILLI, |(), _| ());
    assert_eq!(arrive(&mut set), Arrival::Run { queue: 0 });
}

#[test]
fn a_full_queue_refuses_and_a_request_that_gives_up_makes_room() {
    let mut set: QueueSet<u8> = QueueSet::new(1, Some(Queuing { queues: 1, hand_size: 1, length_limit: 2 }));
    let started = std::cell::RefCell::new(Vec::new());
    let arrive =
        |set: &mut QueueSet<u8>, who| set.arrive(0, 0, 1, || who, |w, _| started.borrow_mut().push(w));
    assert!(matches!(arrive(&mut set, 1), Arrival::Run { .. }));
    let Arrival::Waits { queue, id } = arrive(&mut set, 2) else { panic!("it has to wait") };
    assert!(matches!(arrive(&mut set, 3), Arrival::Waits { .. }));
    assert_eq!(arrive(&mut set, 4), Arrival::Rejected(Reason::QueueFull));
    assert_eq!(set.remove(1, queue, id, |_, _| ()), Some(2));
    assert!(matches!(arrive(&mut set, 5), Arrival::Waits { .. }));
    set.finish(2, 0, 1, 2, |w, _| started.borrow_mut().push(w));
    assert_eq!(*started.borrow(), [3]);
    assert_eq!(set.remove(3, queue, id, |_, _| ()), None);
}

#[test]
fn more_seats_start_what_waits_and_fewer_queues_are_drained_first() {
    let mut set: QueueSet<u8> = QueueSet::new(1, Some(Queuing { queues: 8, hand_size: 2, length_limit: 9 }));
    for who in 0..5 {
        set.arrive(0, u64::from(who) * 977, 1, || who, |_, _| ());
    }
    set.set_queuing(Some(Queuing { queues: 2, hand_size: 1, length_limit: 9 }));
    assert_eq!(set.waiting(), 4);
    let mut started = Vec::new();
    set.set_limit(1, 10, |w, queue| started.push((w, queue)));
    assert_eq!(started.len(), 4);
    assert_eq!((set.waiting(), set.demand_now()), (0, 5));
    // Ends in whatever order, as long as each ends in its own queue.
    let busy: Vec<(u32, u32)> = set.views().enumerate().map(|(n, v)| (n as u32, v.executing)).collect();
    for (queue, count) in busy {
        for _ in 0..count {
            set.finish(2, queue, 1, 1, |_, _| ());
        }
    }
    assert_eq!(set.views().count(), 2);
    assert_eq!(set.demand_now(), 0);
}
