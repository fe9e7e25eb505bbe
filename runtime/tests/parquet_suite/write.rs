//! Parquet files made by the `parquet` crate: the oracle.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type,
    Int64Type, Int96, Int96Type,
};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use std::io::Cursor;
use std::sync::Arc;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{EventRef, Slot, events};
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open_source};
use tapeline_runtime::input::parquet::ParquetConfig;
use tapeline_runtime::input::{InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};

/// Values of a column; `None` where there is none.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    Bool(Vec<Option<bool>>),
    Int32(Vec<Option<i32>>),
    Int64(Vec<Option<i64>>),
    /// ns of the day and Julian day.
    Int96(Vec<Option<(u64, u32)>>),
    Float(Vec<Option<f32>>),
    Double(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
    Fixed(Vec<Option<Vec<u8>>>),
}

impl Values {
    pub(crate) fn texts(texts: &[&str]) -> Self {
        Self::Text(texts.iter().map(|text| Some((*text).to_owned())).collect())
    }

    pub(crate) fn doubles(values: &[f64]) -> Self {
        Self::Double(values.iter().map(|value| Some(*value)).collect())
    }

    pub(crate) fn ints(values: &[i64]) -> Self {
        Self::Int64(values.iter().map(|value| Some(*value)).collect())
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Bool(values) => values.len(),
            Self::Int32(values) => values.len(),
            Self::Int64(values) => values.len(),
            Self::Int96(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Fixed(values) => values.len(),
        }
    }
}

/// A column: as a schema declares it (`optional int64 time (TIMESTAMP(NANOS,true))`), and its values.
pub(crate) type Column = (String, Values);

pub(crate) fn column(declared: &str, values: Values) -> Column {
    (declared.to_owned(), values)
}

/// How a file is written.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) version: u8,
    pub(crate) compression: Compression,
    pub(crate) dictionary: bool,
    /// Of columns with numbers, and with texts; as the writer likes it where that is none.
    pub(crate) encoding: Option<(Encoding, Encoding)>,
    pub(crate) page_rows: usize,
    pub(crate) group_rows: usize,
    pub(crate) is_optional: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            version: 1,
            compression: Compression::UNCOMPRESSED,
            dictionary: true,
            encoding: None,
            page_rows: 20_000,
            group_rows: 1 << 20,
            is_optional: false,
        }
    }
}

impl Form {
    pub(crate) fn zstd() -> Compression {
        Compression::ZSTD(ZstdLevel::try_new(3).unwrap())
    }
}

/// The bytes of a file with these columns.
pub(crate) fn file(columns: &[Column], form: &Form) -> Vec<u8> {
    let word = if form.is_optional { "optional" } else { "required" };
    let declared: Vec<String> = columns.iter().map(|(declared, _)| declared.replace('?', word)).collect();
    // The values of a group's further columns have no declaration of their own.
    let fields: Vec<&str> = declared.iter().map(String::as_str).filter(|declared| !declared.is_empty()).collect();
    let fields: String =
        fields.iter().map(|field| format!("{field}{} ", if field.ends_with('}') { "" } else { ";" })).collect();
    let schema = format!("message rows {{ {fields}}}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let version = if form.version == 1 { WriterVersion::PARQUET_1_0 } else { WriterVersion::PARQUET_2_0 };
    let mut properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_compression(form.compression)
        .set_dictionary_enabled(form.dictionary)
        .set_data_page_row_count_limit(form.page_rows)
        .set_write_batch_size(form.page_rows.min(64));
    for (field, (_, values)) in schema.get_fields().iter().zip(columns) {
        let path = ColumnPath::from(field.name());
        let encoding = match (form.encoding, values) {
            (Some((_, texts)), Values::Text(_)) => texts,
            (Some((numbers, _)), Values::Int32(_) | Values::Int64(_)) => numbers,
            (Some((Encoding::BYTE_STREAM_SPLIT, _)), Values::Float(_) | Values::Double(_) | Values::Fixed(_)) => {
                Encoding::BYTE_STREAM_SPLIT
            }
            (Some((Encoding::DELTA_BINARY_PACKED, _)), Values::Fixed(_)) => Encoding::DELTA_BYTE_ARRAY,
            (Some(_), Values::Bool(_)) => Encoding::RLE,
            _ => continue,
        };
        properties = properties.set_column_encoding(path, encoding);
    }
    let mut writer = SerializedFileWriter::new(Vec::new(), schema.clone(), Arc::new(properties.build())).unwrap();
    let rows = columns.first().map_or(0, |(_, values)| values.rows());
    let mut from = 0;
    while from < rows {
        let to = rows.min(from + form.group_rows);
        let mut group = writer.next_row_group().unwrap();
        for ((_, values), declared) in columns.iter().zip(&declared) {
            let mut column = group.next_column().unwrap().unwrap();
            write(&mut column, values, from..to, declared.starts_with("optional"));
            column.close().unwrap();
        }
        group.close().unwrap();
        from = to;
    }
    writer.into_inner().unwrap()
}

fn write(column: &mut SerializedColumnWriter<'_>, values: &Values, rows: std::ops::Range<usize>, is_optional: bool) {
    macro_rules! batch {
        ($type:ty, $values:expr, $value:expr) => {{
            let some = &$values[rows];
            let levels: Vec<i16> = some.iter().map(|value| i16::from(value.is_some())).collect();
            let values: Vec<_> = some.iter().flatten().map($value).collect();
            let levels = is_optional.then_some(&levels[..]);
            column.typed::<$type>().write_batch(&values, levels, None).unwrap();
        }};
    }
    match values {
        Values::Bool(values) => batch!(BoolType, values, |value| *value),
        Values::Int32(values) => batch!(Int32Type, values, |value| *value),
        Values::Int64(values) => batch!(Int64Type, values, |value| *value),
        Values::Int96(values) => batch!(Int96Type, values, |(nanos, day): &(u64, u32)| {
            let mut time = Int96::new();
            time.set_data(*nanos as u32, (*nanos >> 32) as u32, *day);
            time
        }),
        Values::Float(values) => batch!(FloatType, values, |value| *value),
        Values::Double(values) => batch!(DoubleType, values, |value| *value),
        Values::Text(values) => batch!(ByteArrayType, values, |text: &String| ByteArray::from(text.as_str())),
        Values::Fixed(values) => {
            batch!(FixedLenByteArrayType, values, |bytes: &Vec<u8>| FixedLenByteArray::from(bytes.clone()))
        }
    }
}

/// An event, taken apart.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Event {
    pub(crate) slots: Vec<Slot>,
    pub(crate) symbol: String,
    pub(crate) source: String,
}

impl Event {
    pub(crate) fn head(&self) -> &Slot {
        &self.slots[0]
    }

    pub(crate) fn event(&self) -> EventRef<'_> {
        EventRef::first(&self.slots).expect("it is whole")
    }
}

/// What came of a file.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) events: Vec<Event>,
    pub(crate) tally: Tally,
    pub(crate) error: Option<InputError>,
}

/// Reads a file in memory.
pub(crate) fn decode(bytes: &[u8], config: &ParquetConfig) -> Decoded {
    decode_named(bytes, config, "rows.parquet", MESSAGE_SLOTS_MAX)
}

pub(crate) fn decode_named(bytes: &[u8], config: &ParquetConfig, name: &str, slots: usize) -> Decoded {
    let source = ByteSource::new(Box::new(Cursor::new(bytes.to_vec())), name, None).unwrap();
    let options = OpenOptions { parquet: config.clone(), ..OpenOptions::default() };
    read(open_source(source, &options), slots)
}

/// Reads an input to its end.
pub(crate) fn read(input: Result<Box<dyn tapeline_runtime::input::Input>, InputError>, slots: usize) -> Decoded {
    let mut decoded = Decoded { events: Vec::new(), tally: Tally::default(), error: None };
    let mut input = match input {
        Ok(input) => input,
        Err(error) => {
            decoded.error = Some(error);
            return decoded;
        }
    };
    let (mut catalog, mut out) = (Catalog::new(1 << 12), SlotBuf::with_capacity(slots));
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out);
        decoded.events.extend(events(out.slots()).map(|event| Event {
            slots: event.slots().to_vec(),
            symbol: String::from_utf8_lossy(catalog.symbol_text(event.head().symbol)).into_owned(),
            source: String::from_utf8_lossy(catalog.source_name(event.head().source)).into_owned(),
        }));
        match status {
            Ok(Status::More) => {}
            Ok(Status::End) => break,
            Err(error) => {
                decoded.error = Some(error);
                assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End, "after an error there is nothing");
                break;
            }
        }
    }
    decoded.tally = input.tally();
    decoded
}
