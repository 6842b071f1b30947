"""A small tree in the layout of Aff-Wild2: empty images, annotations as they come."""

from __future__ import annotations

from pathlib import Path

from tests.pipelines.labelled_tree import write

EXPR = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
AU = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
VA = "valence,arousal"
LISTS = "names_of_videos_in_each_test_set"
ROOT = "6th_ABAW_Annotations"
NO_UNITS = ",".join("0" * 12)
ALL_UNITS = ",".join("1" * 12)
FILES = {
    f"{ROOT}/EXPR_Recognition_Challenge/Train_Set/video1.txt": f"{EXPR}\n4\n-1\n0\n7\n",
    f"{ROOT}/EXPR_Recognition_Challenge/Train_Set/video2_left.txt": f"{EXPR}\n1\n1\n",
    f"{ROOT}/EXPR_Recognition_Challenge/Validation_Set/video3.txt": f"{EXPR}\n2\n3\n",
    f"{ROOT}/AU_Detection_Challenge/Train_Set/video1.txt": (
        f"{AU}\n{ALL_UNITS}\n{NO_UNITS}\n-1,{NO_UNITS[2:]}\n{NO_UNITS}\n"
    ),
    f"{ROOT}/AU_Detection_Challenge/Validation_Set/video2_left.txt": f"{AU}\n{NO_UNITS}\n{ALL_UNITS}\n",
    f"{ROOT}/VA_Estimation_Challenge/Train_Set/video1.txt": f"{VA}\n0.5,-0.25\n-5,-5\n-5,-5\n1,-1\n",
    f"{ROOT}/VA_Estimation_Challenge/Validation_Set/video3.txt": f"{VA}\n-0.1,0.2\n0,0\n",
    f"{LISTS}/Expression_Recognition_Challenge_test_set_release.txt": "video4\n",
    f"{LISTS}/Action_Unit_Detection_Challenge_test_set_release.txt": "video4\nvideo3\n",
    f"{LISTS}/Valence_Arousal_Estimation_Challenge_test_set_release.txt": "video4\nvideo2_left\n",
    "test_set_examples/CVPR_6th_ABAW_Expr_test_set_example.txt": (
        f"image_location,{EXPR}\nvideo4/00001.jpg,0\nvideo4/00002.jpg,0\nvideo4/00003.jpg,0\n"
    ),
}
IMAGES = (
    *("cropped_aligned/video1/00001.jpg", "cropped_aligned/video1/00002.jpg", "cropped_aligned/video1/00004.jpg"),
    *("cropped_aligned/video2_left/00001.jpg", "cropped_aligned/video2_left/00002.jpg"),
    *("batch2/cropped_aligned_new_50_vids/video3/00001.jpg", "batch2/cropped_aligned_new_50_vids/video3/00002.jpg"),
    "cropped_aligned/video4/00001.jpg",
)
MTL = {
    "training_set_annotations.txt": (
        "image,valence,arousal,expression,aus\n"
        f"video1/00002.jpg,-5,-5,4,{ALL_UNITS}\nvideo1/00004.jpg,0.5,0.1,-1,-1,{NO_UNITS[2:]}\n"
    ),
    "validation_set_annotations.txt": f"image,valence,arousal,expression,aus\nvideo3/00001.jpg,0.2,0,6,{NO_UNITS}\n",
}


def make_tree(root: Path, changes: dict[str, str | None] | None = None) -> Path:
    """The tree below `root` with other texts, or without files (None)."""
    files = {**FILES, **dict.fromkeys(IMAGES, ""), **(changes or {})}
    write(root, {name: text for name, text in files.items() if text is not None})
    return root
