//! A figure's data as CSV (RFC 4180).
//! Knows nothing of how it is drawn.

use super::chart::Figure;

/// One line a point: panel, series, both axes, error, value of a cell, note.
pub fn csv(figure: &Figure) -> String {
    let has = |f: &dyn Fn(&super::chart::DataPoint) -> bool| {
        let all = figure.panels.iter().flat_map(|c| &c.series).flat_map(|s| &s.points);
        all.clone().any(f)
    };
    let (errors, notes) = (has(&|p| p.error.is_some()), has(&|p| !p.note.is_empty()));
    let cells = figure
        .panels
        .iter()
        .flat_map(|c| &c.series)
        .any(|s| s.kind == super::chart::SeriesKind::Cells);
    let mut out = String::new();
    for (i, panel) in figure.panels.iter().enumerate() {
        let mut head = vec!["series".to_owned(), panel.x.label.clone(), panel.y.label.clone()];
        head.extend(errors.then(|| "standard deviation".to_owned()));
        head.extend(cells.then(|| "value".to_owned()));
        head.extend(notes.then(|| "note".to_owned()));
        // Panels have axes of their own; an empty line parts them.
        if i > 0 {
            out.push_str("\r\n");
        }
        line(&mut out, &head);
        let name = |names: &[String], v: f64| match names.get(v as usize) {
            Some(name) => name.clone(),
            None => v.to_string(),
        };
        for series in &panel.series {
            for p in &series.points {
                let mut fields = vec![
                    series.name.clone(),
                    name(&panel.x.names, p.x),
                    name(&panel.y.names, p.y),
                ];
                fields.extend(errors.then(|| p.error.map_or_else(String::new, |e| e.to_string())));
                fields.extend(cells.then(|| p.value.to_string()));
                fields.extend(notes.then(|| p.note.clone()));
                line(&mut out, &fields);
            }
        }
    }
    out
}

fn line(out: &mut String, fields: &[String]) {
    let quoted = fields.iter().map(|f| {
        if f.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", f.replace('"', "\"\""))
        } else {
            f.clone()
        }
    });
    out.push_str(&quoted.collect::<Vec<_>>().join(","));
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Chart, ChartAxis, DataPoint, Series, SeriesKind};
    use crate::colors::Color;

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        let points = [
            DataPoint::at(1.0, 0.5).noted("density 0.5"),
            DataPoint {
                error: Some(0.25),
                ..DataPoint::at(2.0, 0.75)
            },
        ];
        let chart = Chart {
            x: ChartAxis::new("MACs, million"),
            y: ChartAxis::new("accuracy"),
            series: vec![Series::new("run 1 \"a\"", Color::Text, SeriesKind::Marks).with(points)],
            rules: Vec::new(),
            strip: None,
        };
        let figure = Figure {
            name: "f".into(),
            panels: vec![chart],
        };
        let expected = [
            "series,\"MACs, million\",accuracy,standard deviation,note",
            "\"run 1 \"\"a\"\"\",1,0.5,,density 0.5",
            "\"run 1 \"\"a\"\"\",2,0.75,0.25,",
            "",
        ];
        assert_eq!(csv(&figure), expected.join("\r\n"));
    }
}
