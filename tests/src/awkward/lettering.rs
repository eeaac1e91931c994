//! Words and numbers in a font.

use super::shape::Shape;
use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use anyhow::{Context, Result};

impl Shape {
    /// A line of text in a font, at a size at which capitals are about `height` pixels high.
    pub fn text(font: &FontRef, text: &str, height: f32) -> Result<Self> {
        let scaled = font.as_scaled(PxScale::from(height / 0.6));
        let glyphs: Vec<_> = text.chars().map(|character| scaled.glyph_id(character)).collect();
        let advances: f32 = glyphs.iter().map(|&id| scaled.h_advance(id)).sum();
        // Glyphs may reach beyond their advance and their line.
        let margin = height;
        let mut line =
            Self::empty((advances + 2.0 * margin).ceil() as usize, (scaled.height() + 2.0 * margin).ceil() as usize);
        let (mut pen, baseline) = (margin, margin + scaled.ascent());
        let mut before = None;
        for id in glyphs {
            pen += before.map_or(0.0, |before| scaled.kern(before, id));
            if let Some(outline) = font.outline_glyph(id.with_scale_and_position(scaled.scale(), point(pen, baseline)))
            {
                line.add(&outline);
            }
            pen += scaled.h_advance(id);
            before = Some(id);
        }
        let line = line.trimmed();
        (line.width > 1).then_some(line).with_context(|| format!("the font cannot write '{text}'"))
    }

    fn add(&mut self, glyph: &ab_glyph::OutlinedGlyph) {
        let bounds = glyph.px_bounds();
        glyph.draw(|x, y, coverage| {
            let (x, y) = (bounds.min.x as i64 + i64::from(x), bounds.min.y as i64 + i64::from(y));
            if (0..self.width as i64).contains(&x) && (0..self.height as i64).contains(&y) {
                let slot = &mut self.coverage[y as usize * self.width + x as usize];
                *slot = slot.max(coverage.min(1.0));
            }
        });
    }
}
