//! Just enough of HTTP/1.1 to pass messages on untouched: where a head ends, and where its body
//! does.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// No client or server here sends more; what does is not HTTP.
const LONGEST_HEAD: usize = 1 << 16;
const LONGEST_BODY: usize = 1 << 28;

/// A request or an answer, byte for byte as it came.
#[derive(Debug)]
pub(crate) struct Message {
    /// Everything to the empty line, which it ends in.
    pub(crate) head: Vec<u8>,
    /// The body, in chunks if it came in chunks.
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// Reads a request; `None` if the client has no more.
    pub(crate) async fn read_request<R: AsyncBufRead + Unpin>(
        from: &mut R,
    ) -> Result<Option<Self>> {
        let head = read_head(from).await?;
        if head.is_empty() {
            return Ok(None);
        }
        let body = match Length::of(&head)? {
            Length::Unknown => Vec::new(),
            length @ (Length::Bytes(_) | Length::Chunks) => read_body(from, length).await?,
        };
        Ok(Some(Self { head, body }))
    }

    /// Reads the answer to a request.
    pub(crate) async fn read_answer<R: AsyncBufRead + Unpin>(
        from: &mut R,
        request: &Self,
    ) -> Result<Self> {
        let mut head = read_head(from).await?;
        // An interim answer, such as 100, comes before the one that is meant.
        while status(&head).starts_with('1') {
            head = read_head(from).await?;
        }
        if head.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let has_body =
            !request.head.starts_with(b"HEAD ") && !matches!(status(&head).as_str(), "204" | "304");
        let body = if has_body { read_body(from, Length::of(&head)?).await? } else { Vec::new() };
        Ok(Self { head, body })
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), self.body.as_slice()].concat()
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }

    /// The request line, or the status line.
    pub(crate) fn first_line(&self) -> String {
        lines(&self.head).into_iter().next().unwrap_or_default()
    }
}

/// How long a body is.
enum Length {
    Bytes(usize),
    Chunks,
    /// A request without a length has no body; that of an answer lasts until the connection ends.
    Unknown,
}

impl Length {
    fn of(head: &[u8]) -> Result<Self> {
        if header(head, "transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return Ok(Self::Chunks);
        }
        let Some(length) = header(head, "content-length") else {
            return Ok(Self::Unknown);
        };
        let length = length.parse().ok().filter(|length| *length <= LONGEST_BODY);
        length
            .map(Self::Bytes)
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "no such length of a body"))
    }
}

fn lines(head: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(head).lines().map(str::to_owned).collect()
}

fn header(head: &[u8], name: &str) -> Option<String> {
    let found = lines(head).into_iter().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    found.filter(|value| !value.is_empty())
}

fn status(head: &[u8]) -> String {
    lines(head)
        .first()
        .and_then(|line| line.split(' ').nth(1).map(str::to_owned))
        .unwrap_or_default()
}

/// Everything to the empty line. Empty, if the other side has closed the connection before.
async fn read_head<R: AsyncBufRead + Unpin>(from: &mut R) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let read = from.read_until(b'\n', &mut head).await?;
        match head.as_slice() {
            [] => return Ok(head),
            _ if read == 0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ if head.ends_with(b"\r\n\r\n") => return Ok(head),
            _ if head.len() > LONGEST_HEAD => {
                return Err(Error::new(ErrorKind::InvalidData, "the head has no end"));
            }
            _ => {}
        }
    }
}

async fn read_body<R: AsyncBufRead + Unpin>(from: &mut R, length: Length) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    match length {
        Length::Bytes(length) => read_more(from, &mut body, length).await?,
        Length::Chunks => while read_chunk(from, &mut body).await? {},
        Length::Unknown => {
            from.read_to_end(&mut body).await?;
        }
    }
    Ok(body)
}

/// `false` after the last one, which is empty.
async fn read_chunk<R: AsyncBufRead + Unpin>(from: &mut R, body: &mut Vec<u8>) -> Result<bool> {
    let begin = body.len();
    from.read_until(b'\n', body).await?;
    let line = String::from_utf8_lossy(&body[begin..]).into_owned();
    let size = line.split(';').next().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
    let size = size.filter(|size| begin.saturating_add(*size) <= LONGEST_BODY);
    let size =
        size.ok_or_else(|| Error::new(ErrorKind::InvalidData, "no such length of a chunk"))?;
    if size > 0 {
        read_more(from, body, size + "\r\n".len()).await?;
        return Ok(true);
    }
    // Trailers, and the empty line behind them.
    loop {
        let begin = body.len();
        let read = from.read_until(b'\n', body).await?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if &body[begin..] == b"\r\n" {
            return Ok(false);
        }
    }
}

async fn read_more<R: AsyncBufRead + Unpin>(
    from: &mut R,
    body: &mut Vec<u8>,
    length: usize,
) -> Result<()> {
    let begin = body.len();
    body.resize(begin + length, 0);
    from.read_exact(&mut body[begin..]).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::Message;

    async fn request(text: &str) -> std::io::Result<Option<Message>> {
        Message::read_request(&mut text.as_bytes()).await
    }

    #[tokio::test]
    async fn finds_the_end_of_a_request() {
        let text = "POST /a?delete HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
        let mut rest = text.as_bytes();
        let first = Message::read_request(&mut rest).await.unwrap().unwrap();
        assert_eq!(
            (first.body.as_slice(), first.header("HOST").as_deref()),
            (&b"abc"[..], Some("x"))
        );
        assert_eq!(first.first_line(), "POST /a?delete HTTP/1.1");
        let second = Message::read_request(&mut rest).await.unwrap().unwrap();
        assert!(second.body.is_empty());
        assert!(Message::read_request(&mut rest).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn keeps_chunks_and_their_trailers() {
        let body = "3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\n";
        let text = format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET");
        assert_eq!(request(&text).await.unwrap().unwrap().body, body.as_bytes());
    }

    #[tokio::test]
    async fn takes_nothing_that_is_cut_off_or_endless() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\na",
            "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        ] {
            assert!(request(text).await.is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_a_length_ends_with_the_connection() {
        let get = request("GET / HTTP/1.1\r\n\r\n").await.unwrap().unwrap();
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nto the end";
        let answer = Message::read_answer(&mut text.as_bytes(), &get).await.unwrap();
        assert_eq!(
            (answer.first_line().as_str(), answer.body.as_slice()),
            ("HTTP/1.1 200 OK", &b"to the end"[..])
        );
        let text = "HTTP/1.1 204 No Content\r\n\r\n";
        assert!(Message::read_answer(&mut text.as_bytes(), &get).await.unwrap().body.is_empty());
        assert!(Message::read_answer(&mut &b""[..], &get).await.is_err());
    }
}
