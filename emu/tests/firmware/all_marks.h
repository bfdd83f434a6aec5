/* Everything of mark.h, included twice. */
#include "mark.h"

#include "mark.h"

static inline int all_marks(int id)
{
    static char heap[8];
    KNOLL_MARK_BEGIN(id);
    KNOLL_MARK_END(id);
    KNOLL_MARK_CALL(1);
    knoll_mark_name(1, "one");
    knoll_result("result", -1);
    knoll_watch_allow(heap, sizeof heap);
    knoll_watch_forbid(heap, sizeof heap);
    return (int)knoll_instructions();
}
