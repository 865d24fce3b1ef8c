import json


def document():
    return {f"key {i}": ["x" * (i % 3000), i * 1.5, None, {"a": i}] for i in range(400)}


def run():
    text = json.dumps(document(), indent=1)
    back = json.loads(text)
    lines = text.splitlines()
    joined = "\n".join(line * 3 for line in lines)
    return len(back) + len(joined)
