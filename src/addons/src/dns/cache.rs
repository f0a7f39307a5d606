//! Answers of upstream servers, kept for as long as their records allow.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Most answers kept: at some 500 bytes each about 5 MB, a quarter of the pod's memory.
const MAX_ENTRIES: usize = 10_000;
/// Longest time a positive answer is kept, whatever its records say (CoreDNS' value).
const MAX_POSITIVE: Duration = Duration::from_secs(3600);
/// Longest time a negative answer is kept (RFC 2308 section 5 advises hours; CoreDNS keeps 30 minutes).
const MAX_NEGATIVE: Duration = Duration::from_secs(1800);

/// What an answer is found by: all of a question that makes a difference to its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name, in lower case.
    pub name: Name,
    /// The class.
    pub class: DNSClass,
    /// The type.
    pub kind: RecordType,
    /// The EDNS DO bit: signatures are wanted (RFC 4035 section 3.2.1).
    pub dnssec: bool,
    /// The CD bit: what cannot be verified is wanted too (RFC 4035 section 3.2.2).
    pub unchecked: bool,
}

impl Question {
    /// The question of a query; none when it has none.
    pub fn of(query: &Message) -> Option<Self> {
        let question = query.queries.first()?;
        Some(Self {
            name: question.name().to_lowercase(),
            class: question.query_class(),
            kind: question.query_type(),
            dnssec: query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
            unchecked: query.metadata.checking_disabled,
        })
    }
}

struct Entry {
    message: Message,
    stored: Instant,
    expires: Instant,
}

/// The cache.
#[derive(Default)]
pub struct Cache {
    entries: HashMap<Question, Entry>,
}

impl Cache {
    /// A kept answer whose times to live have been counted down.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Message> {
        let entry = self.entries.get(question).filter(|entry| entry.expires > now)?;
        let age = u32::try_from((now - entry.stored).as_secs()).unwrap_or(u32::MAX);
        let mut message = entry.message.clone();
        let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
        for record in sections.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(message)
    }

    /// Keeps an answer, if it may be kept.
    pub fn put(&mut self, question: Question, message: &Message, now: Instant) {
        let Some(time) = time_to_live(message) else { return };
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.retain(|_, entry| entry.expires > now);
        }
        if self.entries.len() >= MAX_ENTRIES {
            // Full of living answers: any one has to go.
            if let Some(victim) = self.entries.keys().next().cloned() {
                self.entries.remove(&victim);
            }
        }
        self.entries.insert(question, Entry { message: message.clone(), stored: now, expires: now + time });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

/// How long an answer may be kept; none when it may not. Negative answers live as long as their SOA says
/// (RFC 2308 section 5).
fn time_to_live(message: &Message) -> Option<Duration> {
    if message.metadata.truncation {
        return None;
    }
    let negative = match message.metadata.response_code {
        ResponseCode::NoError => message.answers.is_empty(),
        ResponseCode::NXDomain => true,
        _ => return None,
    };
    let seconds = if negative {
        message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        })?
    } else {
        message.answers.iter().map(|record| record.ttl).min()?
    };
    let limit = if negative { MAX_NEGATIVE } else { MAX_POSITIVE };
    Some(Duration::from_secs(u64::from(seconds)).min(limit)).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Edns, OpCode, Query};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    fn query() -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii("a.example.").unwrap(), RecordType::A));
        query
    }

    fn question() -> Question {
        Question::of(&query()).unwrap()
    }

    #[test]
    fn what_makes_a_difference_to_an_answer_makes_another_question() {
        let mut unchecked = query();
        unchecked.metadata.checking_disabled = true;
        let mut signed = query();
        let mut edns = Edns::new();
        edns.set_dnssec_ok(true);
        signed.set_edns(edns);
        let mut chaos = query();
        chaos.queries[0].set_query_class(DNSClass::CH);
        for other in [unchecked, signed, chaos] {
            assert_ne!(Question::of(&other), Some(question()));
        }
        let mut capital = query();
        capital.queries[0].set_name(Name::from_ascii("A.Example.").unwrap());
        assert_eq!(Question::of(&capital), Some(question()));
        assert_eq!(Question::of(&Message::query()), None);
    }

    fn answer(ttl: u32) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.add_answer(Record::from_rdata(question().name, ttl, RData::A(A::new(1, 2, 3, 4))));
        message
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_their_time_to_live_and_count_down() {
        let mut cache = Cache::default();
        cache.put(question(), &answer(60), Instant::now());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(cache.get(&question(), Instant::now()).unwrap().answers[0].ttl, 40);
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(cache.get(&question(), Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_truncated_answers_are_not_kept() {
        let mut cache = Cache::default();
        let mut failed = answer(60);
        failed.metadata.response_code = ResponseCode::ServFail;
        cache.put(question(), &failed, Instant::now());
        let mut truncated = answer(60);
        truncated.metadata.truncation = true;
        cache.put(question(), &truncated, Instant::now());
        cache.put(question(), &answer(0), Instant::now());
        assert_eq!(cache.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_cache_does_not_grow_beyond_its_limit() {
        let mut cache = Cache::default();
        for i in 0..MAX_ENTRIES + 10 {
            let name = Name::from_ascii(format!("n{i}.example.")).unwrap();
            cache.put(Question { name, ..question() }, &answer(60), Instant::now());
        }
        assert_eq!(cache.len(), MAX_ENTRIES);
    }
}
