//! Who goes next, case by case.

use super::*;

pub fn member(name: &str) -> Member {
    Member { namespace: "n".into(), name: name.into(), uid: format!("uid-of-{name}") }
}

/// A run of that minute.
pub fn wanted(member: &Member, minute: u32) -> Wanted {
    let id = format!("20251107-{:02}{:02}00", minute / 60, minute % 60).parse().unwrap();
    Wanted { id, job: format!("{}-{minute}", member.name) }
}

/// Says what a policy wants, and that nothing of it goes on but what has a place.
fn asks(queue: &mut Queue, name: &str, minutes: &[u32]) -> Vec<String> {
    let member = member(name);
    let live = queue.places(&member);
    let all: BTreeSet<_> = minutes.iter().map(|minute| wanted(&member, *minute)).collect();
    let wanted = all.into_iter().filter(|wanted| !live.contains(&wanted.job)).collect();
    names(queue.report(&member, Report { version: 1, live, wanted }))
}

fn names(let_in: Vec<Member>) -> Vec<String> {
    let_in.into_iter().map(|member| member.name).collect()
}

fn ends(queue: &mut Queue, name: &str, minute: u32) -> Vec<String> {
    let member = member(name);
    let job = wanted(&member, minute).job;
    queue.seen(&member, &job);
    names(queue.gone(&member, &job))
}

/// A queue of which the policies are known that there are here.
fn new(limit: usize) -> Queue {
    let mut queue = Queue::new(limit);
    assert_eq!(queue.keep(["a", "b", "c", "flood", "good", "bad"].map(member)), []);
    queue
}

fn opened(limit: usize) -> Queue {
    let mut queue = new(limit);
    assert_eq!(queue.open(), []);
    queue
}

#[test]
fn a_flood_of_one_policy_lets_the_others_through_one_by_one() {
    let mut queue = opened(2);
    assert_eq!(asks(&mut queue, "flood", &[0, 1, 2, 3, 4]), ["flood", "flood"]);
    assert_eq!(asks(&mut queue, "b", &[9]), [""; 0]);
    assert_eq!(asks(&mut queue, "a", &[10, 11]), [""; 0]);
    assert_eq!((queue.taken(), queue.waiting()), (2, 6));
    // Those that were never let in, the older slot first; then by turns.
    assert_eq!(ends(&mut queue, "flood", 0), ["b"]);
    assert_eq!(ends(&mut queue, "flood", 1), ["a"]);
    assert_eq!(ends(&mut queue, "b", 9), ["flood"]);
    assert_eq!(ends(&mut queue, "flood", 2), ["a"]);
    assert_eq!(ends(&mut queue, "a", 10), ["flood"]);
    assert_eq!(queue.places(&member("flood")), ["flood-3".to_owned()].into());
    // One that comes back at once has had its turn.
    assert_eq!(asks(&mut queue, "b", &[12]), [""; 0]);
    assert_eq!(ends(&mut queue, "flood", 3), ["b"]);
    assert_eq!(ends(&mut queue, "b", 12), ["flood"]);
    assert_eq!(ends(&mut queue, "a", 11), [""; 0]);
    assert_eq!((queue.taken(), queue.waiting()), (1, 0));
}

#[test]
fn nothing_is_let_in_before_all_that_goes_on_is_known_and_then_no_more_than_the_rest() {
    let mut queue = new(2);
    assert_eq!(asks(&mut queue, "a", &[0, 1]), [""; 0]);
    let live = [(member("b"), "b-7".to_owned())].into();
    assert_eq!(queue.listed("n", &live), []);
    assert_eq!(names(queue.open()), ["a"]);
    // A limit that was lowered is kept as soon as it can be.
    let mut queue = new(1);
    let live = ["b-7", "b-8"].map(|job| (member("b"), job.to_owned())).into();
    queue.listed("n", &live);
    assert_eq!(queue.open(), []);
    assert_eq!(asks(&mut queue, "a", &[0]), [""; 0]);
    assert_eq!(ends(&mut queue, "b", 7), [""; 0]);
    assert_eq!(ends(&mut queue, "b", 8), ["a"]);
}

#[test]
fn after_a_restart_those_go_first_of_which_nothing_goes_on() {
    let mut queue = new(2);
    asks(&mut queue, "flood", &[0, 1]);
    asks(&mut queue, "b", &[3]);
    asks(&mut queue, "a", &[4]);
    queue.listed("n", &[(member("flood"), "flood-9".to_owned())].into());
    assert_eq!(names(queue.open()), ["b"]);
    assert_eq!(ends(&mut queue, "flood", 9), ["flood"], "now by slots");
    assert_eq!(ends(&mut queue, "flood", 0), ["a"]);
}

#[test]
fn a_list_says_what_has_ended_unheard_and_not_that_a_job_will_not_be_made() {
    let mut queue = opened(2);
    queue.seen(&member("a"), "a-0");
    assert_eq!(asks(&mut queue, "b", &[1, 2]), ["b"]);
    assert_eq!(names(queue.listed("other", &BTreeSet::new())), [""; 0]);
    assert_eq!(names(queue.listed("n", &BTreeSet::new())), ["b"]);
    assert_eq!(queue.places(&member("b")), ["b-1".to_owned(), "b-2".to_owned()].into());
}

#[test]
fn a_job_that_cannot_be_made_keeps_its_place_only_while_nobody_else_waits() {
    let mut queue = opened(1);
    let report =
        |name: &str| Report { version: 1, live: BTreeSet::new(), wanted: [wanted(&member(name), 0)].into() };
    queue.report(&member("bad"), report("bad"));
    queue.failed(&member("bad"));
    assert_eq!(queue.taken(), 1, "perhaps it was made");
    assert_eq!(queue.report(&member("bad"), report("bad")), []);
    assert_eq!(queue.places(&member("bad")), ["bad-0".to_owned()].into());
    queue.failed(&member("bad"));
    assert_eq!(queue.report(&member("good"), report("good")), []);
    assert_eq!(names(queue.report(&member("bad"), report("bad"))), ["good"]);
    assert_eq!(ends(&mut queue, "good", 0), ["bad"]);
    // It was made after all.
    queue.failed(&member("bad"));
    queue.seen(&member("bad"), "bad-0");
    queue.report(&member("good"), Report { version: 2, ..report("good") });
    let live = ["bad-0".to_owned()].into();
    assert_eq!(queue.report(&member("bad"), Report { version: 2, live, wanted: BTreeSet::new() }), []);
}

#[test]
fn a_policy_of_which_every_pass_fails_takes_no_place_from_the_others() {
    let mut queue = opened(2);
    assert_eq!(asks(&mut queue, "bad", &[0, 1, 2, 3]), ["bad", "bad"]);
    assert_eq!(queue.failed(&member("bad")), []);
    assert_eq!(asks(&mut queue, "good", &[4, 5]), [""; 0]);
    assert_eq!(names(queue.failed(&member("bad"))), ["good", "good"]);
    assert_eq!((queue.taken(), queue.waiting()), (2, 0));
}

#[test]
fn what_is_wanted_no_more_gives_its_place_back() {
    let mut queue = opened(1);
    asks(&mut queue, "a", &[0]);
    asks(&mut queue, "b", &[0]);
    let nothing = |version| Report { version, ..Report::default() };
    assert_eq!(queue.report(&member("a"), nothing(0)), [], "an old policy says nothing");
    assert_eq!(names(queue.report(&member("a"), nothing(1))), ["b"]);
    asks(&mut queue, "a", &[1]);
    assert_eq!(names(queue.forget(&member("b"))), ["a"]);
    asks(&mut queue, "c", &[1]);
    assert_eq!(names(queue.keep([member("c")])), ["c"]);
    assert_eq!(queue.taken(), 1);
    // After that resourceVersions may begin anew.
    assert_eq!(queue.report(&member("c"), nothing(0)), []);
    assert_eq!(queue.taken(), 0);
}

#[test]
fn a_namesake_that_is_yet_to_be_made_keeps_its_place() {
    let mut queue = opened(1);
    asks(&mut queue, "a", &[0]);
    assert_eq!(queue.gone(&member("a"), "a-0"), []);
    assert_eq!(queue.taken(), 1);
}

#[test]
fn nothing_is_let_in_before_the_policies_are_known_and_what_goes_on_of_others_counts_no_more() {
    let mut queue = Queue::new(3);
    queue.listed("n", &["a", "x"].map(|name| (member(name), format!("{name}-0"))).into());
    assert_eq!(queue.open(), []);
    assert_eq!(asks(&mut queue, "b", &[1, 2, 3]), [""; 0]);
    assert_eq!(queue.taken(), 2, "they may all be there");
    assert_eq!(names(queue.keep(["a", "b"].map(member))), ["b", "b"]);
    assert_eq!((queue.taken(), queue.waiting()), (3, 1));
}

#[test]
fn who_is_not_there_takes_no_place() {
    let mut queue = opened(2);
    let jobs = ["x-1", "x-2"];
    for job in jobs {
        queue.seen(&member("x"), job);
    }
    queue.listed("n", &jobs.map(|job| (member("x"), job.to_owned())).into());
    assert_eq!((queue.taken(), asks(&mut queue, "x", &[1, 2])), (0, vec![]));
    // Somebody may have made it again under its name.
    let again = Member { uid: "another".into(), ..member("a") };
    queue.seen(&again, "a-1");
    assert_eq!(queue.taken(), 0);
    queue.add(again.clone());
    queue.seen(&again, "a-1");
    assert_eq!(queue.taken(), 1);
}

/// Its pass has read it before, and tells of it afterwards.
#[test]
fn a_policy_that_is_deleted_during_a_pass_takes_no_place_by_it() {
    let mut queue = opened(1);
    queue.forget(&member("a"));
    assert_eq!(asks(&mut queue, "a", &[0]), [""; 0]);
    assert_eq!((queue.taken(), queue.waiting()), (0, 0));
    assert_eq!(asks(&mut queue, "b", &[0]), ["b"]);
}

#[test]
fn what_does_not_start_holds_nobody_up_and_counts_again_once_it_starts() {
    let mut queue = opened(2);
    assert_eq!(asks(&mut queue, "bad", &[0, 1, 2]), ["bad", "bad"]);
    assert_eq!(asks(&mut queue, "a", &[3]), [""; 0]);
    let bad = member("bad");
    let waits = || Report { version: 1, live: BTreeSet::new(), wanted: [wanted(&bad, 2)].into() };
    // Its first two have not started: one place is for the one that waits, the other one for what it still wants itself.
    assert_eq!(names(queue.report(&bad, waits())), ["a", "bad"]);
    assert_eq!((queue.taken(), queue.waiting()), (2, 0));
    assert_eq!(asks(&mut queue, "b", &[4]), [""; 0]);
    queue.seen(&bad, "bad-0");
    assert_eq!(queue.taken(), 3, "more than the limit");
    assert_eq!(ends(&mut queue, "a", 3), [""; 0]);
    assert_eq!(ends(&mut queue, "bad", 0), ["b"]);
}
