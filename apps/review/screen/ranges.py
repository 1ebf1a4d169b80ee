"""Usual ranges of adults in both systems of units: what a page lists beside a question."""

from __future__ import annotations

from functools import cache

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

# (group, ((analyte, conventional, SI), …)). Laboratories differ; these are the ones of NBME's list, rounded
NORMAL_RANGES = (
    ("Electrolytes, kidney", (
        ("Sodium", "136–145 mEq/L", "136–145 mmol/L"),
        ("Potassium", "3.5–5.0 mEq/L", "3.5–5.0 mmol/L"),
        ("Chloride", "95–105 mEq/L", "95–105 mmol/L"),
        ("Bicarbonate", "22–28 mEq/L", "22–28 mmol/L"),
        ("Magnesium", "1.5–2.0 mEq/L", "0.75–1.0 mmol/L"),
        ("Calcium, total", "8.4–10.2 mg/dL", "2.1–2.6 mmol/L"),
        ("Phosphorus", "3.0–4.5 mg/dL", "1.0–1.5 mmol/L"),
        ("Urea nitrogen", "7–18 mg/dL", "2.5–6.4 mmol/L"),
        ("Creatinine", "0.6–1.2 mg/dL", "53–106 µmol/L"),
        ("Uric acid", "3.0–8.2 mg/dL", "0.18–0.48 mmol/L"),
        ("Osmolality", "275–295 mOsmol/kg", "275–295 mmol/kg"),
    )),
    ("Metabolism", (
        ("Glucose, fasting", "70–100 mg/dL", "3.9–5.6 mmol/L"),
        ("Haemoglobin A1c", "< 5.7 %", "< 39 mmol/mol"),
        ("Cholesterol, total", "< 200 mg/dL", "< 5.2 mmol/L"),
        ("LDL cholesterol", "< 130 mg/dL", "< 3.4 mmol/L"),
        ("Triglycerides", "< 150 mg/dL", "< 1.7 mmol/L"),
        ("TSH", "0.4–4.0 µU/mL", "0.4–4.0 mU/L"),
        ("Thyroxine (T4)", "5–12 µg/dL", "64–155 nmol/L"),
        ("Cortisol, 8 am", "5–23 µg/dL", "138–635 nmol/L"),
        ("Lactate", "4.5–20 mg/dL", "0.5–2.2 mmol/L"),
    )),
    ("Liver, heart", (
        ("Bilirubin, total", "0.1–1.0 mg/dL", "2–17 µmol/L"),
        ("Bilirubin, direct", "0.0–0.3 mg/dL", "0–5 µmol/L"),
        ("ALT", "10–40 U/L", "10–40 U/L"),
        ("AST", "12–38 U/L", "12–38 U/L"),
        ("Alkaline phosphatase", "25–100 U/L", "25–100 U/L"),
        ("Amylase", "25–125 U/L", "25–125 U/L"),
        ("Albumin", "3.5–5.5 g/dL", "35–55 g/L"),
        ("Protein, total", "6.0–7.8 g/dL", "60–78 g/L"),
        ("Troponin I", "< 0.04 ng/mL", "< 0.04 µg/L"),
    )),
    ("Blood", (
        ("Haemoglobin, men", "13.5–17.5 g/dL", "135–175 g/L"),
        ("Haemoglobin, women", "12.0–16.0 g/dL", "120–160 g/L"),
        ("Haematocrit, men", "41–53 %", "0.41–0.53"),
        ("Haematocrit, women", "36–46 %", "0.36–0.46"),
        ("MCV", "80–100 µm³", "80–100 fL"),
        ("Leukocytes", "4,500–11,000/mm³", "4.5–11 × 10⁹/L"),
        ("Platelets", "150,000–400,000/mm³", "150–400 × 10⁹/L"),
        ("Reticulocytes", "0.5–1.5 %", "0.005–0.015"),
        ("ESR, men; women", "< 15; < 20 mm/h", "< 15; < 20 mm/h"),
        ("Iron", "50–170 µg/dL", "9–30 µmol/L"),
        ("Ferritin, men", "20–250 ng/mL", "20–250 µg/L"),
        ("Ferritin, women", "10–120 ng/mL", "10–120 µg/L"),
        ("Prothrombin time", "11–15 s", "11–15 s"),
        ("aPTT", "25–40 s", "25–40 s"),
    )),
    ("Arterial blood gases", (
        ("pH", "7.35–7.45", "7.35–7.45"),
        ("pCO₂", "33–45 mm Hg", "4.4–5.9 kPa"),
        ("pO₂", "75–105 mm Hg", "10.0–14.0 kPa"),
    )),
    ("Cerebrospinal fluid", (
        ("Opening pressure", "70–180 mm H₂O", "7–18 cm H₂O"),
        ("Cells", "0–5/mm³", "0–5 × 10⁶/L"),
        ("Glucose", "40–70 mg/dL", "2.2–3.9 mmol/L"),
        ("Protein", "< 40 mg/dL", "< 0.40 g/L"),
    )),
)  # fmt: skip


@cache
def ranges_table() -> SafeString:
    """The same on every page: made once, because its 200 cells take as long as the rest of an item."""
    return render_to_string("review/item_ranges.html", {"ranges": NORMAL_RANGES})
