package simulator

import "strings"

// sentence is a sentence of a conversation.
type sentence struct {
	tokens   []token
	question bool
}

// token is a word as recognized, and its text in the transcript, both as escape returns them.
type token struct {
	word, text string
}

var sentences = parse(`
Good morning, how can I help you?
Hi, this is Susan from the support team.
My router keeps restarting since last night.
Could you tell me what the light shows?
It blinks twice and then it is off again.
Have you tried another cable?
Yes, I did that before I called.
No, not yet.
Okay.
Right.
I see.
Let me check that for you.
One moment, please.
The account looks fine on our side.
When did you first notice it?
It started on Monday, right after the update.
That is strange.
I am going to send a signal to the device.
You should see a green light in about ten seconds.
Nothing happens.
Ah, now it comes back.
Is there anything else I can do for you?
No, that was all, thank you very much.
You are welcome.
What would it cost to move to the larger plan?
The larger plan is twenty dollars a month, without a contract.
We have about forty people in the office.
Some of them work from home three days a week.
I would like to see a comparison before we decide.
I can send you the numbers this afternoon.
Does that include the installation?
It does, and the first three months are half the price.
Honestly, I am not happy with how long this takes.
I understand, and I am sorry about the delay.
We waited for the technician and nobody came.
He was told to ring at the back door, by the café.
That is not what your colleague said, he said "between nine and eleven".
Can we move the appointment to Thursday?
Thursday works for me, in the morning if possible.
So let us look at the agenda for today.
First the release, then the budget, then the open questions.
Who wants to start?
The tests are green, but the migration needs another week.
I think we should ship it without the new page.
What do you think?
I agree with most of that.
There is one risk that we have not talked about.
If the import fails, nobody notices until the next day.
Then we need an alert for it.
Could you write that down, please?
I will do that.
We spent less than planned in the third quarter.
The difference is mostly travel.
How many customers are affected?
About two hundred, as far as we know.
Let us talk again on Friday.
Thanks, everybody.
Goodbye.
`)

func parse(text string) []*sentence {
	var all []*sentence
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimSpace(line)
		s := &sentence{question: strings.HasSuffix(line, "?")}
		for _, field := range strings.Fields(line) {
			s.tokens = append(s.tokens, token{escape(strings.Trim(field, `.,?"`)), escape(field)})
		}
		all = append(all, s)
	}
	return all
}
