//! Stories about lists that are edited while marks last.

use super::*;

const TTL: Duration = Duration::from_secs(30);

/// One host, one table of marks, and a clock that only the story moves.
struct Story {
    marks: Marks,
    host: Host,
    start: Instant,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            marks: Marks::new(TTL),
            host: Host::parse(b"a.test").unwrap(),
            start,
            now: start,
        }
    }

    fn at(&mut self, seconds: f64) -> &mut Self {
        self.now = self.start + Duration::from_secs_f64(seconds);
        self
    }

    fn mark(&mut self, id: BackendId, name: &str) -> Option<Ticket> {
        let backend = Rc::new(backend(name));
        self.marks.mark(&self.host, id, &backend, self.now)
    }

    fn written(&mut self, ticket: Ticket, is_done: bool) {
        self.marks.written(&self.host, ticket, is_done, self.now);
    }

    fn announce(&mut self, id: BackendId, name: &str) {
        self.marks.announce(&self.host, id, backend(name), self.now);
    }

    /// The names of the dead when Redis answers with this list and this set, which lasts 30 s.
    fn read(&mut self, list: &str, members: &[BackendId]) -> String {
        self.read_with(list, members, Some(TTL))
    }

    fn read_with(&mut self, list: &str, members: &[BackendId], left: Option<Duration>) -> String {
        let set = DeadSet {
            members: members.to_vec(),
            remaining: left,
            issued: self.now,
        };
        self.dead(list, Some(&set))
    }

    fn dead(&mut self, list: &str, set: Option<&DeadSet>) -> String {
        let names: Vec<&str> = list.split_whitespace().collect();
        let urls: Vec<String> = names.iter().map(|name| url(name)).collect();
        let list = std::iter::once("id").chain(urls.iter().map(String::as_str));
        let frontend = Frontend::from_list("a.test", list).unwrap();
        let dead = self.marks.dead(&self.host, &frontend, set, self.now);
        let is_dead = |(id, _): &(usize, &&str)| dead.contains(*id);
        let dead: Vec<&str> = names
            .iter()
            .enumerate()
            .filter(is_dead)
            .map(|(_, n)| *n)
            .collect();
        dead.join(" ")
    }
}

fn url(name: &str) -> String {
    match name {
        "!" => "no url".to_owned(),
        name => format!("http://{name}:80"),
    }
}

fn backend(name: &str) -> Backend {
    Backend::parse(&url(name)).unwrap()
}

#[test]
fn our_own_mark_holds_at_once_and_when_redis_refuses_it() {
    let mut story = Story::new();
    let ticket = story.mark(1, "b").unwrap();
    assert_eq!(story.read("a b c", &[]), "b");
    story.at(0.5).written(ticket, false);
    assert_eq!(story.at(20.0).read("a b c", &[]), "b");
    assert_eq!(story.at(29.9).read("a b c", &[]), "b");
    assert_eq!(story.at(30.1).read("a b c", &[]), "");
}

#[test]
fn our_own_mark_follows_the_url_through_an_edited_list() {
    let mut story = Story::new();
    let ticket = story.mark(0, "a").unwrap();
    story.written(ticket, true);
    assert_eq!(story.at(0.1).read("a b", &[0]), "a");
    assert_eq!(
        story.at(0.2).read("b", &[0]),
        "",
        "a left: nobody is blamed"
    );
    assert_eq!(
        story.at(0.3).read("b a", &[0]),
        "a",
        "a is back in another place"
    );
    assert_eq!(
        story.at(0.4).read("c a b a", &[0]),
        "a a",
        "wherever it stands"
    );
}

#[test]
fn a_written_mark_is_given_up_when_the_set_no_longer_has_it() {
    let mut story = Story::new();
    let ticket = story.mark(1, "b").unwrap();
    story.at(0.2).written(ticket, true);
    assert_eq!(story.at(1.1).read("a b", &[]), "b", "the replica may lag");
    assert_eq!(story.at(1.3).read("a b", &[]), "", "taken out by a checker");
    assert_eq!(story.at(1.4).read("a b", &[1]), "b", "and put in again");
}

#[test]
fn a_mark_seen_in_the_set_counts_as_written_even_if_the_reply_was_lost() {
    let mut story = Story::new();
    let ticket = story.mark(1, "b").unwrap();
    assert_eq!(story.at(0.3).read("a b", &[1]), "b");
    story.at(1.0).written(ticket, false);
    assert_eq!(story.at(2.0).read("a b", &[]), "");
}

#[test]
fn the_same_mark_is_written_once_at_a_time() {
    let mut story = Story::new();
    let first = story.mark(1, "b").unwrap();
    assert_eq!(story.at(0.1).mark(1, "b"), None);
    assert!(story.mark(0, "a").is_some());
    story.at(0.2).written(first, true);
    assert!(story.at(0.3).mark(1, "b").is_some());
}

#[test]
fn an_announcement_alone_kills_nobody() {
    let mut story = Story::new();
    story.announce(1, "b");
    assert_eq!(story.read("a b", &[]), "");
    assert_eq!(
        story.at(50.0).read("a b", &[1]),
        "b",
        "a checker put it in later"
    );
}

#[test]
fn an_announced_index_means_who_was_announced() {
    let mut story = Story::new();
    story.announce(1, "b");
    assert_eq!(
        story.at(0.1).read("a c b", &[1]),
        "b",
        "edited before we read"
    );
    assert_eq!(story.at(5.0).read("a c", &[1]), "");
    // The mark ends; the same index is dead again, and nobody told us who it is.
    assert_eq!(story.at(7.0).read("a c", &[]), "");
    assert_eq!(story.at(9.0).read("a c", &[1]), "c");
}

#[test]
fn an_unknown_index_is_taken_from_the_list_and_stays() {
    let mut story = Story::new();
    assert_eq!(story.read("a b c", &[1]), "b");
    assert_eq!(
        story.at(1.0).read("b a c", &[1]),
        "b",
        "the list was turned around"
    );
    assert_eq!(story.at(2.0).read("a c", &[1]), "", "c took the place of b");
    assert_eq!(story.at(3.0).read("a c", &[]), "");
    assert_eq!(story.at(4.0).read("a c", &[1]), "c", "a new mark");
}

#[test]
fn a_guess_is_corrected_by_an_announcement_a_moment_later() {
    let mut story = Story::new();
    assert_eq!(story.read("a c b", &[1]), "c");
    story.at(0.1).announce(1, "b");
    assert_eq!(story.at(0.2).read("a c b", &[1]), "b");
}

#[test]
fn one_index_can_mean_several_when_the_list_was_edited_between_marks() {
    let mut story = Story::new();
    assert_eq!(story.read("a b", &[1]), "b");
    story.at(5.0).announce(1, "c");
    assert_eq!(story.at(5.1).read("a c b", &[1]), "c b");
    let ticket = story.at(6.0).mark(1, "d").unwrap();
    story.written(ticket, true);
    assert_eq!(story.at(6.1).read("a d c b", &[1]), "d c b");
    assert_eq!(story.at(8.0).read("a d c b", &[]), "");
}

#[test]
fn a_mark_that_ran_out_between_two_reads_is_resolved_anew() {
    let mut story = Story::new();
    let left = Some(Duration::from_secs(10));
    assert_eq!(story.read_with("a b", &[1], left), "b");
    assert_eq!(
        story.at(9.0).read_with("a c b", &[1], left),
        "b",
        "renewed meanwhile"
    );
    assert_eq!(
        story.at(30.0).read("a c b", &[1]),
        "c",
        "10 s after 9 s it was over"
    );
}

#[test]
fn an_announcement_for_one_index_renews_the_whole_set() {
    let mut story = Story::new();
    let left = Some(Duration::from_secs(10));
    assert_eq!(story.read_with("a b c", &[1], left), "b");
    story.at(9.0).announce(2, "c");
    assert_eq!(story.at(30.0).read("a d c b", &[1, 2]), "c b");
}

#[test]
fn places_that_were_empty_blame_nobody_later() {
    let mut story = Story::new();
    assert_eq!(story.read("a !", &[1, 2, 5000]), "");
    assert_eq!(story.at(1.0).read("a b c", &[1, 2, 5000]), "");
    assert_eq!(story.at(2.0).read("a b c", &[]), "");
    assert_eq!(story.at(3.0).read("a b c", &[1, 2]), "b c");
}

#[test]
fn a_set_without_expiry_keeps_its_identities_while_it_is_read() {
    let mut story = Story::new();
    for (second, list) in [(0.0, "a b"), (25.0, "a c b"), (50.0, "b c"), (75.0, "c b")] {
        let dead = story.at(second).read_with(list, &[1], None);
        assert_eq!(dead, "b", "{second}");
    }
}

#[test]
fn hosts_do_not_share_marks() {
    let mut story = Story::new();
    story.mark(1, "b");
    story.host = Host::parse(b"b.test").unwrap();
    assert_eq!(story.read("a b", &[]), "");
}

#[test]
fn without_sets_our_own_marks_last_for_their_time() {
    let mut story = Story::new();
    let ticket = story.mark(0, "a").unwrap();
    story.written(ticket, false);
    assert_eq!(story.at(29.0).dead("b a", None), "a");
    assert_eq!(story.at(30.5).dead("b a", None), "");
}

#[test]
fn marks_are_bounded_and_the_oldest_go_first() {
    let mut story = Story::new();
    let target = Rc::new(backend("b"));
    let host = |n: usize| Host::parse(format!("h{n}.test").as_bytes()).unwrap();
    for n in 0..LIMIT + 10 {
        story.marks.mark(&host(n), 1, &target, story.now);
        assert!(story.marks.order.len() <= LIMIT);
    }
    let held: usize = story.marks.hosts.values().map(Vec::len).sum();
    assert_eq!(held, story.marks.order.len());
    assert!(!story.marks.hosts.contains_key(&host(0)));
    assert!(story.marks.hosts.contains_key(&host(LIMIT + 9)));
}

#[test]
fn what_has_run_out_is_swept_by_later_marks() {
    let mut story = Story::new();
    let target = Rc::new(backend("b"));
    for n in 0..20_000_u32 {
        let now = story.start + Duration::from_millis(100) * n;
        let host = Host::parse(format!("h{n}.test").as_bytes()).unwrap();
        story.marks.mark(&host, 1, &target, now);
    }
    // Ten a second for 31 s are alive at a time.
    assert!(
        story.marks.order.len() <= 2 * 311,
        "{}",
        story.marks.order.len()
    );
    assert!(story.marks.hosts.len() <= 2 * 311);
}

#[test]
fn one_host_takes_neither_all_memory_nor_all_time() {
    let mut story = Story::new();
    let host = Host::parse(b"h.test").unwrap();
    let name = |n: usize| backend(&format!("b{n}"));
    for n in 0..2 * HOST_LIMIT {
        story.marks.announce(&host, n % 1000, name(n), story.now);
    }
    let marks = &story.marks.hosts[&host];
    assert_eq!(marks.len(), HOST_LIMIT);
    assert_eq!(marks[0].backend.as_deref(), Some(&name(HOST_LIMIT)));
    let last = marks[HOST_LIMIT - 1].backend.as_deref();
    assert_eq!(last, Some(&name(2 * HOST_LIMIT - 1)));
    assert!(story.marks.order.len() <= 2 * HOST_LIMIT);
}
