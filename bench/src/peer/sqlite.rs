//! SQLite: a table whose rows are messages, by increasing number.
//!
//! Settings, after sqlite.org (`wal.html`, `pragma.html`): write-ahead log; `synchronous=OFF` where nothing has to be
//! durable and `FULL` where a commit has to be; a transaction for every 1,000 messages, or for every message where each
//! is to be durable; statements prepared once; reads of 1,000 rows a query from a mapped file. A consumer that is alone
//! in its group remembers where it is and deletes nothing; several take rows by deleting them. Nothing wakes a reader, so
//! it looks again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rusqlite::{params, Connection, TransactionBehavior};

use super::{Peer, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::spec::Spec;

/// Messages a transaction, and a query.
const TOGETHER: usize = 1000;

const TAKE: &str = "DELETE FROM queue WHERE id IN (SELECT id FROM queue ORDER BY id LIMIT 1000) \
                    RETURNING id, message";
const LOOK: &str = "SELECT id, message FROM queue WHERE id > ?1 ORDER BY id LIMIT 1000";

pub struct Sqlite {
    dir: PathBuf,
    flush: bool,
    together: usize,
    /// Consumers of a group share.
    shared: bool,
    /// Keeps the log from being written back and removed between two others.
    _open: std::sync::Mutex<Connection>,
}

fn connect(dir: &Path, flush: bool) -> Result<Connection> {
    let connection = Connection::open(dir.join("queue.sqlite"))?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", if flush { "FULL" } else { "OFF" })?;
    connection.pragma_update(None, "mmap_size", 4u64 << 30)?;
    Ok(connection)
}

impl Sqlite {
    pub fn create(spec: &Spec, dir: &Path) -> Result<Sqlite> {
        let sqlite = Sqlite::join(spec, dir)?;
        let table = "CREATE TABLE queue (id INTEGER PRIMARY KEY, message BLOB NOT NULL)";
        connect(&sqlite.dir, false)?.execute_batch(table)?;
        Ok(sqlite)
    }

    pub fn join(spec: &Spec, dir: &Path) -> Result<Sqlite> {
        let dir = dir.join("sqlite");
        let _ = std::fs::create_dir(&dir);
        Ok(Sqlite {
            flush: spec.flush,
            together: if spec.flush { spec.batch } else { TOGETHER },
            shared: spec.consumers > 1,
            _open: std::sync::Mutex::new(connect(&dir, spec.flush)?),
            dir,
        })
    }
}

/// Rows taken together with other consumers; none: there were none.
fn take(connection: &mut Connection, checker: &mut Checker) -> Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut rows: Vec<(i64, Vec<u8>)> = {
        let mut statement = transaction.prepare_cached(TAKE)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    transaction.commit()?;
    // RETURNING promises no order.
    rows.sort_unstable_by_key(|row| row.0);
    rows.iter().try_for_each(|(_, message)| checker.check(message))?;
    Ok(rows.len())
}

impl Peer for Sqlite {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let mut connection = connect(&self.dir, self.flush)?;
        Ok(Box::new(move || loop {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut count = 0;
            {
                let mut insert =
                    transaction.prepare_cached("INSERT INTO queue (message) VALUES (?1)")?;
                while count < self.together {
                    let Some(message) = maker.next() else { break };
                    insert.execute(params![message])?;
                    count += 1;
                }
            }
            transaction.commit()?;
            if count == 0 {
                return Ok(());
            }
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let mut connection = connect(&self.dir, false)?;
        Ok(Box::new(move || {
            if self.shared {
                loop {
                    if take(&mut connection, &mut checker)? == 0 && checker.all()? {
                        return Ok(());
                    }
                }
            }
            let mut look = connection.prepare(LOOK)?;
            let mut last = 0i64;
            while !checker.alone_and_done() {
                let before = last;
                let mut rows = look.query([last])?;
                while let Some(row) = rows.next()? {
                    last = row.get(0)?;
                    checker.check(row.get_ref(1)?.as_blob()?)?;
                }
                if last == before && checker.all()? {
                    break;
                }
            }
            Ok(())
        }))
    }

    fn disk_bytes(&self) -> u64 {
        super::disk_of(&self.dir)
    }
}
