//! The commands on a stream, and their answers.
//!
//! The client library's own types refuse a whole answer for one name that is not UTF-8.

use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value, aio::MultiplexedConnection, cmd};

use super::entry::Entry;
use crate::config::{EventSourceConfig, StreamStart};

/// Entries that a stream for refused ones keeps, about.
const MAX_DEAD_LETTERS: usize = 10_000;
/// Prefix of the names of consumers that have a random one.
pub(super) const CONSUMER_PREFIX: &str = "larder-";

/// Removes consumers without pending entries: the one that ends, and those with a random name that
/// have not read for a long time. In one step, because an entry of a removed consumer is lost.
/// KEYS[1]: the stream. ARGV: group, consumer that ends or '', prefix, idle time in milliseconds.
const REMOVE_CONSUMERS: &str = "
local removed = 0
for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #facts, 2 do consumer[facts[i]] = facts[i + 1] end
  local is_old = string.sub(consumer.name, 1, #ARGV[3]) == ARGV[3]
    and consumer.idle > tonumber(ARGV[4])
  if consumer.pending == 0 and (consumer.name == ARGV[2] or is_old) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    removed = removed + 1
  end
end
return removed";

/// A connection with the names that every command needs.
pub(super) struct Commands<'a> {
    pub(super) connection: MultiplexedConnection,
    pub(super) source: &'a EventSourceConfig,
    pub(super) consumer: &'a str,
}

/// A part of the entries that were taken over.
pub(super) struct Claimed {
    /// Where the next part begins; none after the last one.
    pub(super) next: Option<String>,
    pub(super) entries: Vec<Entry>,
    /// Entries that are no longer in the stream.
    pub(super) lost: Vec<String>,
}

impl Commands<'_> {
    /// Creates the group unless there is one. Returns whether it is new.
    pub(super) async fn create_group(&mut self, start: StreamStart) -> RedisResult<bool> {
        let start = match start {
            StreamStart::New => "$",
            StreamStart::Oldest => "0",
        };
        let mut create = self.on_group("XGROUP", Some("CREATE"));
        match self.send(create.arg(start).arg("MKSTREAM")).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Entries that no consumer has read. Waits for one for this long, if at all.
    pub(super) async fn read(&mut self, wait_millis: Option<u64>) -> RedisResult<Vec<Entry>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.source.group).arg(self.consumer);
        read.arg("COUNT").arg(self.source.batch);
        if let Some(millis) = wait_millis {
            read.arg("BLOCK").arg(millis);
        }
        read.arg("STREAMS").arg(&self.source.redis_stream).arg(">");
        let answer = self.send(&read).await?;
        if answer == Value::Nil {
            return Ok(Vec::new());
        }
        if let Value::Array(mut streams) = answer
            && let Some(Value::Array(mut stream)) = streams.pop()
        {
            let (entries, _) = entries(stream.pop().unwrap_or(Value::Nil))?;
            return Ok(entries);
        }
        Err(unexpected("XREADGROUP"))
    }

    /// Takes entries over that are pending for too long.
    pub(super) async fn claim(&mut self, from: &str) -> RedisResult<Claimed> {
        let mut claim = self.on_group("XAUTOCLAIM", None);
        claim.arg(self.consumer).arg(self.source.min_idle.as_millis().to_string());
        claim.arg(from).arg("COUNT").arg(self.source.batch);
        let Value::Array(parts) = self.send(&claim).await? else {
            return Err(unexpected("XAUTOCLAIM"));
        };
        let mut parts = parts.into_iter();
        let (Some(next), Some(claimed)) = (parts.next(), parts.next()) else {
            return Err(unexpected("XAUTOCLAIM"));
        };
        let next = Some(text(&next)?).filter(|next| next != "0-0");
        let (entries, mut lost) = entries(claimed)?;
        if let Some(Value::Array(ids)) = parts.next() {
            for id in &ids {
                lost.push(text(id)?);
            }
        }
        Ok(Claimed { next, entries, lost })
    }

    /// How often each of these entries was delivered.
    pub(super) async fn deliveries(&mut self, entries: &[Entry]) -> RedisResult<Vec<u64>> {
        let mut pipe = redis::pipe();
        for entry in entries {
            let mut pending = self.on_group("XPENDING", None);
            pending.arg(&entry.id).arg(&entry.id).arg(1);
            pipe.add_command(pending);
        }
        let answers = self.connection.send_packed_commands(&pipe, 0, entries.len()).await?;
        let count = |answer: &Value| {
            if let Value::Array(rows) = answer
                && let Some(Value::Array(row)) = rows.first()
                && let Some(Value::Int(count)) = row.get(3)
            {
                return u64::try_from(*count).unwrap_or_default();
            }
            // Another consumer has acknowledged it.
            0
        };
        Ok(answers.iter().map(count).collect())
    }

    /// Resets the idle time of entries in progress (JUSTID: no delivery is counted).
    pub(super) async fn hold(&mut self, entries: &[Entry]) -> RedisResult<()> {
        let mut hold = self.on_group("XCLAIM", None);
        hold.arg(self.consumer).arg(0);
        for entry in entries {
            hold.arg(&entry.id);
        }
        self.send(hold.arg("JUSTID")).await.map(drop)
    }

    /// Acknowledges entries.
    pub(super) async fn acknowledge(&mut self, ids: &[&str]) -> RedisResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut acknowledge = self.on_group("XACK", None);
        self.send(acknowledge.arg(ids)).await.map(drop)
    }

    /// Copies a refused entry to the stream for such entries, if there is one.
    pub(super) async fn bury(&mut self, entry: &Entry, reason: &str) -> RedisResult<()> {
        if self.source.dead_letter.is_empty() {
            return Ok(());
        }
        let mut add = cmd("XADD");
        add.arg(&self.source.dead_letter).arg("MAXLEN").arg("~").arg(MAX_DEAD_LETTERS).arg("*");
        for (name, value) in &entry.fields {
            add.arg(name).arg(value);
        }
        add.arg("larder-reason").arg(reason).arg("larder-id").arg(&entry.id);
        self.send(&add).await.map(drop)
    }

    /// Entries of the group that are pending, and those that are not read, as far as the server
    /// counts them.
    pub(super) async fn figures(&mut self) -> RedisResult<(Option<i64>, Option<i64>)> {
        let mut info = cmd("XINFO");
        info.arg("GROUPS").arg(&self.source.redis_stream);
        let Value::Array(groups) = self.send(&info).await? else {
            return Err(unexpected("XINFO"));
        };
        let of_group = |facts: &&Value| {
            let name = fact(facts, "name").and_then(|name| text(name).ok());
            name.as_deref() == Some(&*self.source.group)
        };
        let group = groups.iter().find(of_group);
        let number = |name| match group.and_then(|facts| fact(facts, name)) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        };
        Ok((number("pending"), number("lag")))
    }

    /// Removes old consumers without pending entries, and this one if it ends.
    pub(super) async fn remove_consumers(
        &mut self,
        ends: bool,
        idle_millis: u64,
    ) -> RedisResult<()> {
        let mut eval = cmd("EVAL");
        eval.arg(REMOVE_CONSUMERS).arg(1).arg(&self.source.redis_stream).arg(&self.source.group);
        eval.arg(if ends { self.consumer } else { "" }).arg(CONSUMER_PREFIX).arg(idle_millis);
        self.send(&eval).await.map(drop)
    }

    /// A command on the group of the stream.
    fn on_group(&self, name: &str, subcommand: Option<&str>) -> Cmd {
        let mut command = cmd(name);
        command.arg(subcommand).arg(&self.source.redis_stream).arg(&self.source.group);
        command
    }

    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = self.connection.send_packed_command(command).await?;
        if let Value::ServerError(error) = answer {
            return Err(error.into());
        }
        Ok(answer)
    }
}

/// The value of a fact in an answer with names and values in turn.
fn fact<'a>(facts: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Array(facts) = facts else { return None };
    let mut pairs = facts.chunks_exact(2);
    pairs.find(|pair| text(&pair[0]).is_ok_and(|found| found == name)).map(|pair| &pair[1])
}

/// Entries, and the ids of those that are no longer in the stream.
fn entries(value: Value) -> RedisResult<(Vec<Entry>, Vec<String>)> {
    let Value::Array(values) = value else { return Err(unexpected("a stream")) };
    let (mut entries, mut lost) = (Vec::with_capacity(values.len()), Vec::new());
    for value in values {
        // Redis 6.2 does not report which entry is gone.
        if value == Value::Nil {
            continue;
        }
        let Value::Array(parts) = value else { return Err(unexpected("a stream")) };
        let mut parts = parts.into_iter();
        let id = text(&parts.next().unwrap_or(Value::Nil))?;
        match parts.next() {
            Some(Value::Array(fields)) => entries.push(Entry::new(id, pairs(fields)?)),
            _ => lost.push(id),
        }
    }
    Ok((entries, lost))
}

fn pairs(fields: Vec<Value>) -> RedisResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut texts = fields.into_iter().map(|field| {
        if let Value::BulkString(bytes) = field { Ok(bytes) } else { Err(unexpected("a stream")) }
    });
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        pairs.push((name?, value?));
    }
    Ok(pairs)
}

fn text(value: &Value) -> RedisResult<String> {
    if let Value::BulkString(bytes) = value {
        return Ok(String::from_utf8_lossy(bytes).into_owned());
    }
    if let Value::SimpleString(text) = value {
        Ok(text.clone())
    } else {
        Err(unexpected("a stream"))
    }
}

fn unexpected(what: &'static str) -> RedisError {
    (ErrorKind::UnexpectedReturnType, "unexpected answer", what.to_owned()).into()
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bulk(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    #[test]
    fn entries_may_have_any_bytes_and_may_be_gone() {
        let fields = Value::Array(vec![bulk(b"\xff"), bulk(b"\xfe"), bulk(b"a"), bulk(b"")]);
        let answer = Value::Array(vec![
            Value::Array(vec![bulk(b"1-0"), fields]),
            Value::Array(vec![bulk(b"2-0"), Value::Nil]),
            Value::Nil,
        ]);
        let (found, lost) = entries(answer).unwrap();
        let fields = vec![(vec![0xff], vec![0xfe]), (b"a".to_vec(), Vec::new())];
        assert_eq!(found, [Entry::new("1-0".to_owned(), fields)]);
        assert_eq!(lost, ["2-0"]);
        assert!(entries(Value::Okay).is_err() && entries(Value::Array(vec![Value::Okay])).is_err());
    }

    #[test]
    fn facts_are_found_by_their_names() {
        let facts = Value::Array(vec![bulk(b"name"), bulk(b"g"), bulk(b"lag"), Value::Int(3)]);
        assert_eq!(fact(&facts, "lag"), Some(&Value::Int(3)));
        assert_eq!(fact(&facts, "g"), None);
    }
}
