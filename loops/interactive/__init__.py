"""SAM3 asked by people: text prompts judged, boxes and clicks simulated, answers measured."""
