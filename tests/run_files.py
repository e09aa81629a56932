"""Small run files in each of the three formats, for the loading tests."""

from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd

from t2m_bayes.schema import TIMES

SHEET_8B = "DeepSeek-R1-Distill-Llama-8B"
SHEET_1B = "DeepSeek-R1-Distill-Qwen-1_5B"
SHEET_14B = "DeepSeek-R1-Distill-Qwen-14B"


def requests(count: int = 40, seed: int = 0) -> pd.DataFrame:
    """Requests of two subjects, times in seconds."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(80, 600, count)
    output = rng.integers(2, 900, count)
    prefill = 0.05 + 1e-4 * prompt + rng.uniform(0, 1e-3, count)
    decode = 0.03 * (output - 1)
    return pd.DataFrame(
        {
            "subject": np.where(np.arange(count) < count // 2, "anatomy", "virology"),
            "answer": rng.integers(0, 4, count),
            "input_tokens": prompt,
            "output_tokens": output,
            "prefill_s": prefill,
            "decode_s": decode,
            "total_s": prefill + decode,
        }
    )


def server_sheet(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": frame.subject,
            "question_id": range(len(frame)),
            "question": "What?\nAnd why?",
            "correct_answer": [chr(65 + a) for a in frame.answer],
            "generated_text": [f"text {i}" for i in range(len(frame))],
            "ttft": frame.prefill_s,
            "decode_time": frame.decode_s,
            "total_time_ms": frame.total_s * 1e3,
            "tokens_per_second": frame.output_tokens / frame.total_s,
            "input_tokens": frame.input_tokens,
            "output_tokens": frame.output_tokens,
        }
    )


def tegra_table(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subset": frame.subject,
            "ground_truth_index": frame.answer,
            "full_output": [f"text {i}" for i in range(len(frame))],
            "inference_time": frame.total_s.round(4),
            "output_tokens": frame.output_tokens,
            "prefill": frame.prefill_s * 1e3,
            "decode": frame.decode_s * 1e3,
            "tokens_per_second": (frame.output_tokens / frame.total_s).round(3),
        }
    )


def run_table(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["subject", "input_tokens", "output_tokens", *TIMES]
    return frame[columns].assign(device="my-box", llm="My-3B", params_b=3.0)


def write_excel(path: Path, **sheets: pd.DataFrame) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, frame in sheets.items():
        sheet = book.create_sheet(name)
        sheet.append(list(frame.columns))
        for row in frame.astype(object).itertuples(index=False):
            sheet.append([None if pd.isna(cell) else cell for cell in row])
    book.save(path)
    return path


def write_csv(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path
